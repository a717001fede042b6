//! Replies and requests in parts, with backpressure.

use super::common::{
    COUNT, ECHO, ENDLESS, FAIL, PARTS, PARTS_BACK, REFUSE, Seen, Serving, limits, on_each, within,
};
use futures_core::Stream;
use msgpipe::tokio::{Client, Parts};
use msgpipe::{ClientOptions, Error};
use std::pin::Pin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn a_reply_has_its_parts_in_order_as_a_stream() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await.with_method(PARTS);
        for count in [0_u64, 1, 2, 5000] {
            let mut parts = client.stream(count.to_string()).await.unwrap();
            let mut taken = 0;
            while let Some(part) = next(&mut parts).await {
                assert_eq!(part.unwrap(), vec![taken as u8; 1000]);
                taken += 1;
            }
            assert_eq!(taken, count);
            assert!(parts.next().await.is_none() && next(&mut parts).await.is_none());
        }
    });
}

/// As a combinator of streams takes it.
async fn next(parts: &mut Parts) -> Option<Result<bytes::Bytes, Error>> {
    let mut parts = Pin::new(parts);
    std::future::poll_fn(|context| parts.as_mut().poll_next(context)).await
}

#[test]
fn a_reply_is_read_as_bytes_and_an_error_is_not_taken_for_its_end() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await;
        let mut read = Vec::new();
        let mut parts = client.with_method(PARTS).stream("3").await.unwrap();
        parts.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, [[0; 1000], [1; 1000], [2; 1000]].concat());
        let mut parts = client.with_method(FAIL).stream("").await.unwrap();
        let error = parts.read_to_end(&mut read).await.unwrap_err();
        assert!(error.to_string().contains("no such note"), "{error}");
        let error = parts.read_to_end(&mut read).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        // One reply is the only part.
        let mut parts = client.with_method(ECHO).stream("whole").await.unwrap();
        assert_eq!(parts.next().await.unwrap().unwrap(), "whole");
        assert!(parts.next().await.is_none());
    });
}

#[test]
fn a_sender_waits_for_a_reader_and_others_go_on() {
    const WINDOW: u64 = 256 * 1024;
    on_each(|| async {
        let serving = Serving::start();
        let limits = limits().with_call_window(WINDOW as usize);
        let options = ClientOptions::new().limits(limits);
        let client = Client::connect_with(serving.name.as_str(), &options).await.unwrap();
        let mut parts = client.with_method(ENDLESS).stream("").await.unwrap();
        assert_eq!(parts.next().await.unwrap().unwrap(), vec![0; 1000]);
        for _ in 0..100 {
            assert_eq!(client.call(vec![1; 10_000]).await.unwrap().len(), 10_000);
        }
        drop(parts);
        let Seen::Sent(sent) = serving.next().await else { panic!() };
        // Besides the window what the server's own queues hold.
        assert!(sent * 1000 < WINDOW + (2 << 20), "{sent} parts");
        assert_eq!(client.call("goes on").await.unwrap(), "goes on");
    });
}

#[test]
fn an_upload_is_sent_with_backpressure() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await.with_method(COUNT);
        for count in [0, 1, 500] {
            let mut upload = client.upload().unwrap();
            for _ in 0..count {
                upload.send(vec![3; 20_000]).await.unwrap();
            }
            let reply = upload.finish().unwrap().await.unwrap();
            assert_eq!(reply, (count * 20_000).to_string());
        }
    });
}

#[test]
fn an_upload_is_written_as_bytes() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await.with_method(COUNT);
        let bytes = vec![1; 3_000_000];
        let mut upload = client.upload().unwrap();
        upload.write_all(&bytes).await.unwrap();
        upload.flush().await.unwrap();
        upload.write_all(b"more").await.unwrap();
        upload.shutdown().await.unwrap();
        assert_eq!(upload.write(b"late").await.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
        assert_eq!(upload.finish().unwrap().await.unwrap(), "3000004");
        // Ended and not finished: nobody takes the reply.
        let mut upload = client.upload().unwrap();
        upload.write_all(b"given up").await.unwrap();
        upload.shutdown().await.unwrap();
        drop(upload);
        assert_eq!(client.with_method(ECHO).call("goes on").await.unwrap(), "goes on");
    });
}

#[test]
fn a_server_that_takes_no_more_says_so() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await.with_method(REFUSE);
        let mut upload = client.upload().unwrap();
        let error = loop {
            if let Err(error) = within(upload.send(vec![1; 50_000])).await {
                break error;
            }
        };
        assert!(matches!(error, Error::Stopped { .. }), "{error}");
        assert_eq!(upload.finish().unwrap().await.unwrap(), "no more");
    });
}

#[test]
fn a_part_over_the_limit_is_returned_and_the_request_goes_on() {
    on_each(|| async {
        let serving = Serving::start();
        let options = ClientOptions::new().limits(limits().with_message(1000));
        let client = Client::connect_with(serving.name.as_str(), &options).await.unwrap();
        let mut upload = client.with_method(COUNT).upload().unwrap();
        let error = upload.send(vec![1; 1001]).await.unwrap_err();
        assert!(
            matches!(&error, Error::PartTooLarge { limit: 1000, part, .. } if part.len() == 1001)
        );
        upload.send(vec![1; 1000]).await.unwrap();
        // Bytes are taken as far as they go.
        assert_eq!(upload.write(&[1; 1500]).await.unwrap(), 1000);
        assert_eq!(upload.finish().unwrap().await.unwrap(), "2000");
    });
}

#[test]
fn a_conversation_goes_both_ways_at_once() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await.with_method(PARTS_BACK);
        let (mut says, mut hears) = client.duplex().unwrap();
        let task = tokio::spawn(async move {
            for at in 0..500 {
                says.send(vec![at as u8; 10_000]).await.unwrap();
            }
            says.end().unwrap();
        });
        for at in 0..500 {
            assert_eq!(hears.next().await.unwrap().unwrap(), vec![at as u8; 10_000]);
        }
        assert!(hears.next().await.is_none());
        task.await.unwrap();
    });
}

#[test]
fn an_upload_that_is_dropped_is_cancelled() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await.with_method(COUNT);
        let mut upload = client.upload().unwrap();
        upload.send("one").await.unwrap();
        upload.flush().await.unwrap();
        drop(upload);
        assert!(matches!(serving.next().await, Seen::Sent(0 | 3)));
        assert_eq!(client.with_method(ECHO).call("goes on").await.unwrap(), "goes on");
        // The ends that do not fit, with which the call is over too.
        assert!(matches!(client.upload().unwrap().end(), Err(Error::Misuse { .. })));
        let (says, _hears) = client.duplex().unwrap();
        assert!(matches!(says.finish(), Err(Error::Misuse { .. })));
    });
}
