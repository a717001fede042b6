//! Threads that share a client.

use super::{explore, serving};
use shuttle::thread;

/// Each gets the reply to its own call, whoever reads.
#[test]
fn threads_share_a_client() {
    explore(|| {
        serving(
            |request, responder| responder.reply(request.into_body()),
            |connect| {
                let client = connect();
                let calling: Vec<_> = (0..2)
                    .map(|number: u8| {
                        let client = client.clone();
                        thread::spawn(move || {
                            for round in 0..2 {
                                let asked = [number, round];
                                assert_eq!(client.call(&asked[..]).unwrap(), asked[..]);
                            }
                        })
                    })
                    .collect();
                calling.into_iter().for_each(|it| it.join().unwrap());
            },
        );
    });
}

/// One waits while another starts calls, takes them in another order and drops one.
#[test]
fn calls_are_taken_in_any_order_beside_a_thread_that_waits() {
    explore(|| {
        serving(
            |request, responder| responder.reply(request.into_body()),
            |connect| {
                let client = connect();
                let other = client.clone();
                let waiting = thread::spawn(move || other.call("waits").unwrap());
                let first = client.start("first").unwrap();
                let dropped = client.start("dropped").unwrap();
                let last = client.start("last").unwrap();
                assert_eq!(last.wait().unwrap(), "last");
                drop(dropped);
                assert_eq!(first.wait().unwrap(), "first");
                assert_eq!(waiting.join().unwrap(), "waits");
            },
        );
    });
}

/// A thread that waits for a reply learns that another one has closed the client.
#[test]
fn closing_a_client_ends_the_calls_of_its_other_threads() {
    explore(|| {
        let mut held = Vec::new();
        serving(
            move |_, responder| held.push(responder),
            |connect| {
                let client = connect();
                let other = client.clone();
                let waiting = thread::spawn(move || other.call("held").unwrap_err());
                client.close();
                let error = waiting.join().unwrap();
                assert!(error.reply().is_none(), "{error}");
            },
        );
    });
}
