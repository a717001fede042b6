//! Calls: each ends once, with a reply, an error or at its deadline.

use super::common::{ECHO, FAIL, HOLD, PATIENCE, Seen, Serving, limits, on_each};
use msgpipe::tokio::Client;
use msgpipe::{ClientOptions, Error, Interrupt, Metadata, Progress};
use std::time::Duration;

#[test]
fn a_call_receives_its_reply_of_any_size() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await;
        for size in [0, 1, 239, 240, 241, 4096, 65_536, 300_000, 3 << 20] {
            let request: Vec<u8> = (0..size).map(|at| (at * 7) as u8).collect();
            assert!(client.call(request.clone()).await.unwrap() == request, "{size} bytes");
        }
        assert!(client.server().same_user && client.endpoint().contains(&serving.name));
        let counts = client.counts().calls;
        assert_eq!((counts.begun, counts.replied), (9, 9));
    });
}

/// Before the server's settings are known, which the first large one waits for.
#[test]
fn the_first_call_may_be_a_large_one() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await;
        let request = vec![7; 1 << 20];
        assert!(client.call(request.clone()).await.unwrap() == request);
    });
}

#[test]
fn many_calls_are_in_flight_and_each_gets_its_own_reply() {
    const TASKS: usize = 64;
    const ROUNDS: usize = 50;
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await;
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..TASKS {
            let client = client.clone();
            tasks.spawn(async move {
                for round in 0..ROUNDS {
                    let request = format!("task {number} round {round}");
                    assert_eq!(client.call(request.clone()).await.unwrap(), request);
                }
            });
        }
        while let Some(joined) = tasks.join_next().await {
            joined.unwrap();
        }
        let counts = client.counts().calls;
        assert_eq!((counts.begun, counts.replied), (3200, 3200));
    });
}

/// At once, so that some are begun before the server's settings are known.
#[test]
fn the_limit_of_calls_is_exact() {
    on_each(|| async {
        let serving = Serving::start();
        for limit in [1, 2, 100] {
            let options = ClientOptions::new().limits(limits().with_in_flight(limit));
            let client = Client::connect_with(serving.name.as_str(), &options).await.unwrap();
            let held = client.with_method(HOLD);
            let mut calls = Vec::new();
            for _ in 0..limit {
                calls.push(held.start("held").await.unwrap());
            }
            let error = held.start("one more").await.unwrap_err();
            assert!(
                matches!(&error, Error::TooManyCalls { limit: at, request, .. } if *at == limit && request == "one more"),
                "{error}"
            );
            assert!(error.is_not_begun());
            drop(calls.pop());
            // The place is free once the server has confirmed it.
            while client.call("after").await.is_err() {
                tokio::task::yield_now().await;
            }
        }
    });
}

#[test]
fn an_error_reply_has_its_code_text_and_details() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await;
        let error = client.with_method(FAIL).call("note 7").await.unwrap_err();
        let reply = error.reply().unwrap();
        assert_eq!((reply.code, reply.text.as_str()), (404, "no such note"));
        assert_eq!(reply.details, "note 7");
        assert_eq!(client.call("goes on").await.unwrap(), "goes on");
        assert_eq!(client.counts().calls.failed, 1);
    });
}

#[test]
fn a_request_over_the_limit_is_returned() {
    on_each(|| async {
        let serving = Serving::start();
        let options = ClientOptions::new().limits(limits().with_message(1000));
        let client = Client::connect_with(serving.name.as_str(), &options).await.unwrap();
        for (size, fits) in [(999, true), (1000, true), (1001, false)] {
            match client.call(vec![1; size]).await {
                Ok(reply) => assert!(fits && reply.len() == size),
                Err(Error::TooLarge { size: was, limit, message, .. }) => {
                    assert!(!fits && (was, limit, message.len()) == (1001, 1000, 1001));
                }
                Err(error) => panic!("{error}"),
            }
        }
    });
}

#[test]
fn metadata_go_both_ways() {
    on_each(|| async {
        let serving = Serving::start();
        let metadata = Metadata::default().with(b"trace", b"00-4bf9").unwrap();
        let client = serving.client().await.with_metadata(metadata).with_method(ECHO);
        let call = client.start("hello").await.unwrap();
        let (reply, metadata) = call.wait_with_metadata().await.unwrap();
        assert_eq!(reply, "hello");
        assert_eq!(metadata.get(b"trace").unwrap(), "00-4bf9");
    });
}

#[test]
fn a_call_ends_at_its_deadline_and_the_connection_goes_on() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await;
        // So long that it is begun before, on a busy machine too.
        let late = client.with_method(HOLD).with_timeout(Duration::from_secs(1));
        let call = late.start("held").await.unwrap();
        assert_eq!(serving.next().await, Seen::Begun);
        let error = call.await.unwrap_err();
        assert!(matches!(error, Error::Deadline { progress: Progress::Unknown, .. }), "{error}");
        assert!(matches!(serving.next().await, Seen::Ended(_)));
        assert_eq!(client.call("goes on").await.unwrap(), "goes on");
        assert_eq!(client.counts().calls.late, 1);
        // Also of a call that nobody polls.
        let mut call = late.start("held").await.unwrap();
        assert_eq!(serving.next().await, Seen::Begun);
        assert!(matches!(serving.next().await, Seen::Ended(_)));
        while client.counts().calls.late < 2 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(call.try_wait(), Some(Err(Error::Deadline { .. }))));
        assert!(call.try_wait().is_none() && matches!(call.await, Err(Error::Misuse { .. })));
    });
}

/// Deadlines are tokio's time: with its clock stopped an hour takes no time.
#[test]
fn deadlines_keep_to_the_clock_of_the_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let serving = Serving::start();
        let client = serving.client().await;
        client.call("the settings have come").await.unwrap();
        let hour = Duration::from_secs(3600);
        let began = (tokio::time::Instant::now(), std::time::Instant::now());
        let call = client.with_method(HOLD).with_timeout(hour).start("held").await.unwrap();
        assert_eq!(serving.next().await, Seen::Begun);
        tokio::time::pause();
        let error = call.await.unwrap_err();
        assert!(matches!(&error, Error::Deadline { after, .. } if *after >= hour), "{error}");
        assert!(began.0.elapsed() >= hour && began.1.elapsed() < PATIENCE);
    });
}

#[test]
fn a_detached_call_is_carried_out() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await;
        client.with_method(HOLD).start("held").await.unwrap().detach();
        assert_eq!(serving.next().await, Seen::Begun);
        // Also one that a task has waited for.
        let mut call = client.start("echo").await.unwrap();
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut call).poll(context).is_ready())
        });
        match polled.await {
            true => drop(call),
            false => call.detach(),
        }
        assert_eq!(client.call("goes on").await.unwrap(), "goes on");
        assert_eq!(client.counts().calls.cancelled, 0);
        drop(client);
        assert_eq!(serving.next().await, Seen::Ended(Interrupt::Closed));
    });
}
