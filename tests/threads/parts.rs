//! Replies and requests of parts, whose ends are on different threads.

use super::{explore, serving};
use msgpipe::{Topic, WhenFull};
use shuttle::thread;

/// More than waits at once, so that the sender has to wait for the client.
#[test]
fn a_sender_that_waits_is_woken_by_who_takes() {
    explore(|| {
        serving(
            |_, responder| {
                thread::spawn(move || {
                    let mut parts = responder.into_parts();
                    for number in 0..3_u8 {
                        parts.send(vec![number; 300 << 10]).unwrap();
                    }
                    parts.finish();
                });
            },
            |connect| {
                let client = connect();
                for (number, part) in client.stream("").unwrap().enumerate() {
                    let part = part.unwrap();
                    assert_eq!((part.len(), part[0]), (300 << 10, number as u8));
                }
            },
        );
    });
}

#[test]
fn a_sender_learns_that_its_client_takes_no_more() {
    explore(|| {
        serving(
            |_, responder| {
                thread::spawn(move || {
                    let mut parts = responder.into_parts();
                    while parts.send(vec![7; 100 << 10]).is_ok() {}
                });
            },
            |connect| {
                let client = connect();
                let mut parts = client.stream("").unwrap();
                parts.next().unwrap().unwrap();
                drop(parts);
            },
        );
    });
}

#[test]
fn an_upload_is_taken_by_another_thread() {
    explore(|| {
        serving(
            |request, responder| {
                thread::spawn(move || {
                    let parts = request.into_parts();
                    let bytes: usize = parts.map(|part| part.unwrap().len()).sum();
                    responder.reply(bytes.to_string());
                });
            },
            |connect| {
                let client = connect();
                let mut upload = client.upload().unwrap();
                for _ in 0..3 {
                    upload.send(vec![7; 200 << 10]).unwrap();
                }
                let bytes = 3 * (200 << 10);
                assert_eq!(upload.finish().unwrap().wait().unwrap(), bytes.to_string());
            },
        );
    });
}

/// A publisher that waits for room, and a subscriber that goes.
#[test]
fn a_publisher_is_not_left_waiting_by_a_subscriber_that_goes() {
    explore(|| {
        let topic = Topic::new(WhenFull::Wait);
        let subscribers = topic.clone();
        serving(
            move |_, responder| subscribers.subscribe(responder),
            |connect| {
                let client = connect();
                let mut subscription = client.stream("").unwrap();
                let publishing = thread::spawn(move || {
                    let mut queued = 0;
                    while queued < 3 {
                        queued += topic.publish(vec![7; 100 << 10]).queued;
                        thread::yield_now();
                    }
                    topic.publish(vec![7; 100 << 10]);
                });
                subscription.next().unwrap().unwrap();
                subscription.next().unwrap().unwrap();
                subscription.next().unwrap().unwrap();
                drop(subscription);
                publishing.join().unwrap();
            },
        );
    });
}
