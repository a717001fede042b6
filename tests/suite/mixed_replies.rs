//! Small replies beside a long one of the same connection.

use crate::common::observed::observed;
use crate::common::{Backend, PATIENCE};
use bytes::Bytes;
use msgpipe::{Limits, Metadata, Server};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

crate::on_every_transport!(the_system_is_to_hold_less_while_small_replies_are_beside_a_long_one);

/// The transport is told once when that begins, and once when the long reply is over; and of no other client.
fn the_system_is_to_hold_less_while_small_replies_are_beside_a_long_one<B: Backend>() {
    for has_metadata in [false, true] {
        small_replies_beside_a_long_one::<B>(has_metadata);
    }
}

fn small_replies_beside_a_long_one<B: Backend>(has_metadata: bool) {
    let backend = B::new();
    let messages = observed(&backend);
    let told = messages.between.in_transit.clone();
    let server = Server::over(messages, Limits::default());
    let stopper = server.stopper();
    let serving = thread::spawn(move || {
        server.serve_deferred(|request, responder| match &request.body()[..] {
            b"long" => drop(thread::spawn(move || {
                let (mut parts, part) = (responder.into_parts(), Bytes::from(vec![7; 64 << 10]));
                while parts.send(part.clone()).is_ok() {}
            })),
            _ => {
                let metadata = Metadata::default();
                let metadata = match has_metadata {
                    true => metadata.with(b"size", b"small").unwrap(),
                    false => metadata,
                };
                responder.with_metadata(metadata).reply(request.into_body());
            }
        })
    });
    let client = backend.client(&Limits::default()).unwrap();
    assert_eq!(client.call("alone").unwrap(), "alone");
    assert!(told.lock().unwrap().is_empty());

    let (is_enough, until) = (AtomicBool::new(false), Instant::now() + PATIENCE);
    thread::scope(|scope| {
        let transfer = scope.spawn(|| {
            let mut parts = client.stream("long").unwrap();
            while !is_enough.load(Ordering::SeqCst) {
                assert_eq!(parts.next().unwrap().unwrap().len(), 64 << 10);
            }
        });
        while told.lock().unwrap().is_empty() && Instant::now() < until {
            assert_eq!(client.call("small").unwrap(), "small");
        }
        is_enough.store(true, Ordering::SeqCst);
        transfer.join().unwrap();
    });
    while told.lock().unwrap().len() < 2 && Instant::now() < until {
        assert_eq!(client.call("small").unwrap(), "small");
    }
    assert_eq!(*told.lock().unwrap(), [true, false]);
    stopper.stop();
    serving.join().unwrap().unwrap();
}
