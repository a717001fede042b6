//! What the server sends unasked.

use super::common::{CALL_BACK, NOTIFY, Seen, Serving, on_each, within};
use msgpipe::{Error, ErrorReply, ServerMessage};

#[test]
fn notifications_of_the_server_come_in_order() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await;
        let mut incoming = client.incoming().unwrap();
        assert!(matches!(client.incoming(), Err(Error::Misuse { .. })));
        let call = client.with_method(NOTIFY).start("1000").await.unwrap();
        for at in 0..1000 {
            let ServerMessage::Notification(news) = incoming.next().await.unwrap().unwrap() else {
                panic!()
            };
            assert_eq!(news.body(), at.to_string());
        }
        assert_eq!(call.await.unwrap(), "done");
        assert_eq!(client.counts().notifications_received, 1000);
        client.close();
        assert!(matches!(incoming.next().await, Some(Err(Error::Closed { .. }))));
        assert!(incoming.next().await.is_none());
    });
}

/// What nobody takes holds back no reply.
#[test]
fn notifications_that_wait_do_not_hold_up_calls() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await;
        let _incoming = client.incoming().unwrap();
        let _call = client.with_method(NOTIFY).start("100000").await.unwrap();
        for _ in 0..50 {
            assert_eq!(within(client.call(vec![1; 100_000])).await.unwrap().len(), 100_000);
        }
    });
}

#[test]
fn the_server_calls_the_client() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await;
        let calls_back = client.with_method(CALL_BACK);
        // Nobody listens.
        let error = calls_back.call("").await.unwrap_err();
        assert!(error.to_string().contains("takes no calls"), "{error}");
        let mut incoming = client.incoming().unwrap();
        let listening = tokio::spawn(async move {
            let mut answered = 0;
            while let Some(Ok(message)) = incoming.next().await {
                let ServerMessage::Request(request) = message else { panic!() };
                assert_eq!(request.body(), "may I?");
                assert!(!request.is_cancelled());
                answered += 1;
                match answered {
                    1 => request.reply("yes"),
                    2 => request.reply(Err::<&str, _>(ErrorReply::new(403, "no"))),
                    _ => drop(request),
                }
            }
            answered
        });
        assert_eq!(calls_back.call("").await.unwrap(), "yes");
        for text in ["403", "gave no answer"] {
            let error = calls_back.call("").await.unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
        client.close();
        assert_eq!(listening.await.unwrap(), 3);
    });
}

#[test]
fn notifications_to_the_server_arrive_in_order() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await;
        for at in 0..1000_u32 {
            let limit = std::time::Duration::from_secs(60);
            client.notify_within(at.to_string(), limit).await.unwrap();
        }
        for at in 0..1000_u32 {
            assert_eq!(serving.next().await, Seen::Notified(at.to_string().into_bytes()));
        }
    });
}
