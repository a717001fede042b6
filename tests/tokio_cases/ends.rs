//! The end of a connection: each call ends with the reason, and nobody waits on.

use super::common::{ENDLESS, HOLD, PATIENCE, Seen, Serving, on_each, options, within};
use msgpipe::tokio::Client;
use msgpipe::{CloseReason, Error, Goodbye, Progress};

#[test]
fn closing_ends_all_calls_of_all_clones() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await;
        let call = client.with_method(HOLD).start("held").await.unwrap();
        assert_eq!(serving.next().await, Seen::Begun);
        let mut parts = client.with_method(ENDLESS).stream("").await.unwrap();
        let waiting = tokio::spawn(call);
        tokio::task::yield_now().await;
        client.clone().close();
        let error = within(waiting).await.unwrap().unwrap_err();
        assert!(
            matches!(
                &error,
                Error::Closed { reason: CloseReason::Local, progress: Progress::Unknown, .. }
            ),
            "{error}"
        );
        let error = within(async {
            loop {
                match parts.next().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return error,
                    None => panic!("it has no end"),
                }
            }
        });
        assert!(matches!(error.await, Error::Closed { .. }));
        let error = client.call("late").await.unwrap_err();
        assert!(matches!(error, Error::Closed { .. }) && error.is_not_begun(), "{error}");
        assert!(client.upload().is_err() && client.notify("late").await.is_err());
        assert!(client.is_closed());
    });
}

/// Closed before the driver has run: nothing was sent, and the calls say so.
#[test]
fn a_call_of_which_nothing_was_sent_was_not_begun() {
    on_each(|| async {
        let serving = Serving::start();
        let connected = Client::connect_with_driver(serving.name.as_str(), &options()).await;
        let (client, driver) = connected.unwrap();
        let call = client.start("not sent").await.unwrap();
        client.close();
        let error = call.await.unwrap_err();
        assert!(error.is_not_begun(), "{error}");
        assert!(matches!(driver.await, CloseReason::Local));
    });
}

#[test]
fn a_driver_that_is_dropped_ends_all_calls() {
    on_each(|| async {
        let serving = Serving::start();
        let connected = Client::connect_with_driver(serving.name.as_str(), &options()).await;
        let (client, driver) = connected.unwrap();
        let driver = tokio::spawn(driver);
        client.call("works").await.unwrap();
        let call = client.with_method(HOLD).start("held").await.unwrap();
        assert_eq!(serving.next().await, Seen::Begun);
        let notifies = client.clone();
        let waiting = tokio::spawn(async move {
            loop {
                if let Err(error) = notifies.notify_within(vec![1; 100_000], PATIENCE).await {
                    return error;
                }
            }
        });
        tokio::task::yield_now().await;
        driver.abort();
        let error = within(call).await.unwrap_err();
        assert!(error.to_string().contains("driver"), "{error}");
        assert!(!error.is_not_begun());
        assert!(matches!(within(waiting).await.unwrap(), Error::Closed { .. }));
        assert!(client.call("late").await.unwrap_err().is_not_begun());
    });
}

#[test]
fn a_server_that_stops_answers_what_it_has_begun() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await;
        client.call("works").await.unwrap();
        serving.stop();
        let error = within(async {
            loop {
                if let Err(error) = client.call("again").await {
                    return error;
                }
            }
        });
        let error = error.await;
        match &error {
            Error::Answered { .. } => assert!(error.is_not_begun(), "{error}"),
            Error::Closed { .. } => {}
            error => panic!("{error}"),
        }
        within(async {
            while client.close_reason().is_none() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    });
}

#[test]
fn the_goodbye_of_the_server_is_the_reason() {
    on_each(|| async {
        let name = super::common::unique_name();
        let server = msgpipe::Server::bind(name.as_str()).unwrap();
        let stopper = server.stopper();
        let serving = std::thread::spawn(move || {
            server.serve(|request| {
                request.connection().close(Goodbye::new(1234, "gone fishing"));
                "unheard"
            })
        });
        let client = Client::connect_with(name.as_str(), &options()).await.unwrap();
        let error = within(async {
            loop {
                if let Err(error) = client.call("hello").await {
                    return error;
                }
            }
        });
        let error = error.await;
        assert!(error.to_string().contains("gone fishing"), "{error}");
        stopper.stop();
        serving.join().unwrap().unwrap();
    });
}
