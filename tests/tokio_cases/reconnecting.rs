//! A client that connects again: waiting for a server, tries and times, and who makes the connection.

use super::common::{HOLD, PATIENCE, Seen, Serving, limits, on_each, options, unique_name, within};
use msgpipe::tokio::ReconnectingClient;
use msgpipe::{Backoff, ClientOptions, CloseReason, Error, Fault, Limits, Server, Stopper};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const MILLI: Duration = Duration::from_millis(1);

/// It tries again at once.
pub fn eager() -> Backoff {
    Backoff::new().with_first(MILLI).with_longest(20 * MILLI).with_tries(u32::MAX)
}

pub fn client(name: &str) -> ReconnectingClient {
    ReconnectingClient::new(name, &options(), eager()).unwrap()
}

/// A server that echoes and counts its connections; it stops when dropped.
pub struct Echo(Stopper, Option<JoinHandle<()>>, Arc<AtomicU32>);

impl Echo {
    pub fn start(name: &str) -> Echo {
        let until = Instant::now() + PATIENCE;
        let server = loop {
            match Server::bind(name) {
                Err(_) if Instant::now() < until => thread::yield_now(),
                bound => break bound.unwrap(),
            }
        };
        let connections = Arc::new(AtomicU32::new(0));
        let counted = connections.clone();
        let server = server.on_connected(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let stopper = server.stopper();
        let serving = thread::spawn(move || server.serve(|request| request.body()).unwrap());
        Echo(stopper, Some(serving), connections)
    }

    pub fn connections(&self) -> u32 {
        self.2.load(Ordering::SeqCst)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.0.stop();
        self.1.take().unwrap().join().unwrap();
    }
}

#[test]
fn the_number_of_tries_is_exact_and_the_last_error_is_returned() {
    on_each(|| async {
        let name = unique_name();
        for most in [1, 2, 5] {
            let backoff = eager().with_tries(most);
            let client = ReconnectingClient::new(name.as_str(), &options(), backoff).unwrap();
            let error = client.call("").await.unwrap_err();
            assert!(error.is_not_begun() && error.fault() == Fault::Nobody, "{error}");
            assert!(error.to_string().contains(&name), "{error}");
            let Error::GaveUp { tries, last, .. } = error else { panic!("{error}") };
            assert_eq!(tries, most);
            assert!(matches!(*last, Error::NoServer { .. }), "{last}");
            // The next call has tries of its own, and so has each of several at once.
            let (one, two) = tokio::join!(client.call(""), client.client());
            for error in [one.unwrap_err(), two.map(drop).unwrap_err()] {
                assert!(matches!(error, Error::GaveUp { tries, .. } if tries == most), "{error}");
            }
        }
    });
}

#[test]
fn the_time_of_a_call_includes_the_waiting() {
    on_each(|| async {
        let name = unique_name();
        let (began, time) = (Instant::now(), 100 * MILLI);
        let error = client(&name).with_timeout(time).call("").await.unwrap_err();
        assert!(began.elapsed() >= time && began.elapsed() < PATIENCE / 2);
        let Error::GaveUp { last, time: Some(given), .. } = &error else { panic!("{error}") };
        assert_eq!(*given, time);
        assert!(matches!(**last, Error::NoServer { .. }) && error.is_not_begun(), "{error}");
        let none = client(&name).with_timeout(Duration::ZERO).call("").await.unwrap_err();
        assert!(matches!(none, Error::Deadline { .. }) && none.is_not_begun(), "{none}");
    });
}

#[test]
fn deadlines_hold_while_the_server_is_away_and_calls_go_on_when_it_is_back() {
    on_each(|| async {
        let name = unique_name();
        let client = client(&name);
        for round in 0..3 {
            let short = client.with_timeout((20 + round) * MILLI);
            let mut calls = JoinSet::new();
            for number in 0..100 {
                let it = if number % 2 == 0 { short.clone() } else { client.clone() };
                calls.spawn(async move { (number, it.call(number.to_string()).await) });
            }
            for _ in 0..50 {
                let (number, outcome) = within(calls.join_next()).await.unwrap().unwrap();
                let error = outcome.unwrap_err();
                assert!(number % 2 == 0 && error.is_not_begun(), "{number}: {error}");
            }
            let echo = Echo::start(&name);
            while let Some(ended) = within(calls.join_next()).await {
                let (number, outcome) = ended.unwrap();
                assert_eq!(outcome.unwrap(), number.to_string());
            }
            assert_eq!(echo.connections(), 1, "there is one connection");
            // The next calls would be sent to a server that has gone, for all that is known.
            let present = client.client().await.unwrap();
            drop(echo);
            while !present.is_closed() {
                tokio::task::yield_now().await;
            }
        }
    });
}

#[test]
fn of_many_tasks_one_makes_the_new_connection() {
    on_each(|| async {
        let name = unique_name();
        let client = client(&name).idempotent();
        for _ in 0..5 {
            let echo = Echo::start(&name);
            let mut calls = JoinSet::new();
            for number in 0..100 {
                let client = client.clone();
                calls.spawn(async move {
                    let text = format!("task {number}");
                    assert_eq!(client.call(text.clone()).await.unwrap(), text);
                });
            }
            while let Some(ended) = within(calls.join_next()).await {
                ended.unwrap();
            }
            assert_eq!(echo.connections(), 1);
        }
    });
}

/// What a stopping server has begun it answers, and what it refuses is sent to the next one.
#[test]
fn calls_go_on_while_the_server_is_restarted() {
    on_each(|| async {
        let name = unique_name();
        let client = client(&name).idempotent();
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let calling = tokio::spawn(async move {
            let mut number = 0u32;
            while !*stopped.borrow() {
                number += 1;
                assert_eq!(client.call(number.to_string()).await.unwrap(), number.to_string());
            }
            number
        });
        for _ in 0..20 {
            let echo = Echo::start(&name);
            while echo.connections() == 0 && !calling.is_finished() {
                tokio::task::yield_now().await;
            }
            // Joins the server's thread.
            tokio::task::spawn_blocking(move || drop(echo)).await.unwrap();
        }
        let _last = Echo::start(&name);
        stop.send(true).unwrap();
        assert!(calling.await.unwrap() > 0);
    });
}

/// The time of a call that has been begun is the driver's, which knows what was sent.
#[test]
fn a_call_that_is_not_answered_ends_at_its_time_and_is_not_sent_again() {
    on_each(|| async {
        let serving = Serving::start();
        let held = client(&serving.name).with_method(HOLD).with_timeout(50 * MILLI);
        let error = held.idempotent().call("held").await.unwrap_err();
        assert!(matches!(error, Error::Deadline { .. }) && !error.is_not_begun(), "{error}");
        assert_eq!(serving.next().await, Seen::Begun);
        assert!(matches!(serving.next().await, Seen::Ended(_)));
    });
}

#[test]
fn a_dropped_call_is_cancelled() {
    on_each(|| async {
        let serving = Serving::start();
        let client = client(&serving.name);
        let held = client.with_method(HOLD);
        tokio::select! {
            reply = held.call("held") => panic!("{reply:?}"),
            seen = serving.next() => assert_eq!(seen, Seen::Begun),
        }
        assert!(matches!(serving.next().await, Seen::Ended(_)));
        assert_eq!(client.call("goes on").await.unwrap(), "goes on");
    });
}

#[test]
fn a_close_ends_all_waits() {
    on_each(|| async {
        let name = unique_name();
        let backoff = Backoff::new().with_tries(u32::MAX);
        let client = ReconnectingClient::new(name.as_str(), &options(), backoff).unwrap();
        let mut waiting = JoinSet::new();
        for _ in 0..20 {
            let client = client.clone();
            waiting.spawn(async move { client.call("nobody comes").await });
        }
        tokio::task::yield_now().await;
        client.close();
        while let Some(ended) = within(waiting.join_next()).await {
            let error = ended.unwrap().unwrap_err();
            let is_local = matches!(&error, Error::Closed { reason: CloseReason::Local, .. });
            assert!(is_local && error.is_not_begun(), "{error}");
        }
        let echo = Echo::start(&name);
        assert!(matches!(client.call("").await, Err(Error::Closed { .. })));
        assert_eq!(echo.connections(), 0, "no other one is made");
    });
}

#[test]
fn a_close_ends_calls_in_flight_and_they_are_not_sent_again() {
    on_each(|| async {
        let serving = Serving::start();
        let client = client(&serving.name);
        let held = client.idempotent().with_method(HOLD);
        let calling = tokio::spawn(async move { held.call("held").await });
        assert_eq!(serving.next().await, Seen::Begun);
        client.close();
        let error = within(calling).await.unwrap().unwrap_err();
        assert!(matches!(&error, Error::Closed { reason: CloseReason::Local, .. }), "{error}");
    });
}

/// The connection that `client` returns is the application's: it may close it.
#[test]
fn a_connection_that_was_closed_is_replaced() {
    on_each(|| async {
        let name = unique_name();
        let echo = Echo::start(&name);
        let client = client(&name);
        client.with_method(7).client().await.unwrap().close();
        assert_eq!(client.call("hello").await.unwrap(), "hello");
        let present = client.client().await.unwrap();
        assert_eq!(present.call("the same").await.unwrap(), "the same");
        assert_eq!(echo.connections(), 2);
        assert!(present.counts().calls.replied >= 2, "{:?}", present.counts());
    });
}

/// What nobody uses any more is closed: the only place of the server is free again.
#[test]
fn the_last_drop_ends_the_connection() {
    on_each(|| async {
        let mut one = Limits::new();
        (one.connections, one.connections_reserved) = (1, 0);
        let serving = Serving::with(msgpipe::ServerOptions::new().limits(one));
        for _ in 0..3 {
            let client = client(&serving.name);
            let other = client.clone().idempotent();
            drop(client);
            assert_eq!(other.call("in").await.unwrap(), "in");
        }
    });
}

#[test]
fn invalid_names_and_framings_are_refused_at_once() {
    let options = ClientOptions::new();
    assert!(matches!(ReconnectingClient::new("no/name", &options, eager()), Err(Error::Name(_))));
    let lines = ClientOptions::new().framing(msgpipe::framing::Lines::new(100));
    let error = ReconnectingClient::new("com.example.lines", &lines, eager()).unwrap_err();
    assert!(matches!(error, Error::Misuse { .. }), "{error}");
    let messages = ClientOptions::new().framing(msgpipe::framing::OsMessage::new(100));
    on_each(|| async {
        let client = ReconnectingClient::new("com.example.os", &messages, eager()).unwrap();
        let error = client.call("").await.unwrap_err();
        assert!(matches!(error, Error::System { .. }), "{error}");
    });
}

/// The pauses of one call hold up no other one.
#[test]
fn a_new_call_does_not_wait_for_the_pauses_of_others() {
    on_each(|| async {
        let name = unique_name();
        let hour = Duration::from_secs(3600);
        let backoff = Backoff::new().with_first(hour).with_longest(hour);
        let options = ClientOptions::new().limits(limits().with_call(hour));
        let client = ReconnectingClient::new(name.as_str(), &options, backoff).unwrap();
        let hasty = client.with_timeout(50 * MILLI);
        for _ in 0..5 {
            let error = hasty.call("").await.unwrap_err();
            assert!(matches!(error, Error::GaveUp { tries: 1, time: Some(_), .. }), "{error}");
        }
        let waiting = tokio::spawn({
            let client = client.clone();
            async move { client.call("a long pause").await }
        });
        tokio::task::yield_now().await;
        let _echo = Echo::start(&name);
        assert_eq!(client.with_timeout(PATIENCE).call("hello").await.unwrap(), "hello");
        // What one call has found serves all.
        assert_eq!(within(waiting).await.unwrap().unwrap(), "a long pause");
    });
}
