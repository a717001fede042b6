//! Calls that are cancelled, and large messages that wait for memory, on every transport.

use crate::common::raw::{calls_begin, envelope, frame, goodbye_in, id_of};
use crate::common::serving::{Serving, limits};
use crate::common::{Backend, PATIENCE, pattern};
use msgpipe::framing::{GoodbyeCode, Layer};
use msgpipe::{CloseReason, Error, Limits, Request, Responder};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

crate::on_every_transport!(
    a_dropped_call_is_cancelled_at_the_server,
    a_call_whose_time_is_over_is_cancelled_at_the_server,
    a_small_call_overtakes_a_large_one,
    a_large_call_ends_although_no_thread_waits_for_it,
    pieces_of_one_byte_do_not_extend_the_time_of_a_message,
);
crate::on_named_transports!(
    large_messages_wait_for_memory_and_arrive,
    a_client_that_stalls_with_memory_reserved_is_closed,
    frames_without_a_piece_are_no_progress,
    two_announcements_hold_memory_no_longer_than_one,
);

/// Waits until the request is cancelled.
fn is_cancelled(request: &Request) -> bool {
    let started = Instant::now();
    while !request.is_cancelled() && started.elapsed() < PATIENCE {
        thread::yield_now();
    }
    request.is_cancelled()
}

/// A server that passes its requests on, and them.
fn deferring<B: Backend>(
    backend: &B,
    limits: &Limits,
) -> (Serving, mpsc::Receiver<(Request, Responder)>) {
    let (tell, requests) = mpsc::channel();
    let server = backend.serve_calls(limits).unwrap();
    let serving = Serving::start(server, move |request, responder| {
        tell.send((request, responder)).unwrap();
    });
    (serving, requests)
}

fn a_dropped_call_is_cancelled_at_the_server<B: Backend>() {
    let backend = B::new();
    let (_serving, requests) = deferring(&backend, &limits());
    let client = backend.client(&limits()).unwrap();
    let (dropped, kept) = (client.start("dropped").unwrap(), client.start("kept").unwrap());
    let next = || requests.recv_timeout(PATIENCE).unwrap();
    let (first, second) = (next(), next());
    drop(dropped);
    assert!(is_cancelled(&first.0) && first.1.is_cancelled());
    assert!(!second.0.is_cancelled());
    first.1.reply("nobody waits for this");
    second.1.reply("for this");
    assert_eq!(kept.wait().unwrap(), "for this");
}

fn a_call_whose_time_is_over_is_cancelled_at_the_server<B: Backend>() {
    let backend = B::new();
    let (_serving, requests) = deferring(&backend, &limits());
    let client = backend.client(&limits()).unwrap();
    let hasty = client.with_timeout(Duration::from_millis(20));
    // The thread that waits does not tell the server: it sees the deadline itself.
    let _call = hasty.start("late").unwrap();
    let (request, responder) = requests.recv_timeout(PATIENCE).unwrap();
    assert!(is_cancelled(&request));
    drop(responder);
    let call = client.start("in time").unwrap();
    requests.recv_timeout(PATIENCE).unwrap().1.reply("yes");
    assert_eq!(call.wait().unwrap(), "yes");
}

/// The large request is in pieces, and the server has memory for it only after the small one.
fn a_small_call_overtakes_a_large_one<B: Backend>() {
    let backend = B::new();
    let (_serving, requests) = deferring(&backend, &limits());
    let client = backend.client(&limits()).unwrap();
    let body = pattern(8 << 20, 3);
    let large = client.start(body.clone()).unwrap();
    let small = client.start("small").unwrap();
    let waiting = thread::spawn(move || small.wait());
    let (first, responder) = requests.recv_timeout(PATIENCE).unwrap();
    assert_eq!(first.body(), "small");
    responder.reply("done");
    assert_eq!(waiting.join().unwrap().unwrap(), "done");
    let waiting = thread::spawn(move || large.wait());
    let (second, responder) = requests.recv_timeout(PATIENCE).unwrap();
    assert!(second.body() == body, "another body");
    responder.reply(second.into_body());
    assert!(waiting.join().unwrap().unwrap() == body, "another reply");
}

/// Its pieces are sent by looking whether the reply is there.
fn a_large_call_ends_although_no_thread_waits_for_it<B: Backend>() {
    let backend = B::new();
    let _serving = Serving::echo(&backend, &limits());
    let client = backend.client(&limits()).unwrap();
    for size in [100, 1 << 20, (1 << 20) + 1, 4 << 20] {
        let body = pattern(size, 11);
        let mut call = client.start(&body).unwrap();
        let reply = loop {
            match call.try_wait() {
                Some(reply) => break reply.unwrap(),
                None => thread::yield_now(),
            }
        };
        assert!(reply == body, "{size}: another reply");
    }
}

/// Each client's message takes half of the memory: so some have to wait.
fn large_messages_wait_for_memory_and_arrive<B: Backend>() {
    const CLIENTS: usize = 6;
    const SIZE: usize = 4 << 20;
    let backend = B::new();
    let mut small = limits();
    (small.message, small.memory) = (SIZE, 4 * SIZE);
    let _serving = Serving::echo(&backend, &small);
    let body = pattern(SIZE, 5);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let client = backend.client(&limits()).unwrap();
                for _ in 0..3 {
                    assert!(client.call(&body).unwrap() == body, "another reply");
                }
            });
        }
    });
}

/// Announces messages to a server, of which it sends nothing, and frames that may be ignored as long as it can be
/// written to. Another client's message has to be served meanwhile.
fn stalls<B: Backend>(announcements: u32, chatters: bool) {
    const SIZE: usize = 4 << 20;
    let backend = B::new();
    let mut small = limits();
    (small.message, small.memory) = (SIZE, 4 * SIZE);
    small.drain = Duration::from_millis(100);
    let serving = Serving::echo(&backend, &small);
    // Flag 4: with a total, and no byte of the body.
    let announced = |number| frame(&envelope(1, 4, id_of(number), &(SIZE as u32).to_le_bytes()));
    let announced: Vec<u8> = (0..announcements).flat_map(announced).collect();
    let stalling: Vec<_> = (0..3)
        .map(|_| {
            let mut raw = backend.raw();
            assert!(raw.write(&[calls_begin(), announced.clone()].concat()));
            thread::spawn(move || {
                let ignored = frame(&envelope(0x80, 0, 0, b""));
                while chatters && raw.write(&ignored) {
                    thread::yield_now();
                }
                raw.read_to_end()
            })
        })
        .collect();
    let client = backend.client(&limits()).unwrap();
    let body = pattern(SIZE, 7);
    match client.call(&body) {
        Ok(reply) => assert!(reply == body, "another reply"),
        Err(error @ Error::Closed { .. }) => panic!("who sends was closed: {error}"),
        Err(error) => panic!("{error}"),
    }
    // The others may keep their memory: nobody waits for it any more.
    drop(serving);
    let closed = stalling.into_iter().map(|stalling| stalling.join().unwrap());
    let codes: Vec<_> = closed.filter_map(|bytes| goodbye_in(&bytes, Layer::Calls)).collect();
    let is_closed = codes.iter().any(|(code, _)| *code == GoodbyeCode::TOO_SLOW);
    assert!(is_closed || chatters, "{codes:?}");
}

fn a_client_that_stalls_with_memory_reserved_is_closed<B: Backend>() {
    stalls::<B>(1, false);
}

fn frames_without_a_piece_are_no_progress<B: Backend>() {
    stalls::<B>(1, true);
}

fn two_announcements_hold_memory_no_longer_than_one<B: Backend>() {
    stalls::<B>(2, false);
}

/// The hook is told why.
fn pieces_of_one_byte_do_not_extend_the_time_of_a_message<B: Backend>() {
    let backend = B::new();
    let mut quick = limits();
    quick.message_time = Duration::from_millis(200);
    let (tell, reasons) = mpsc::channel();
    let server = backend.serve_calls(&quick).unwrap();
    let server = server.on_closed(move |_, reason| tell.send(reason.clone()).unwrap());
    let _serving = Serving::start(server, |_, responder| responder.reply(""));
    let mut raw = backend.raw();
    // Flag 4: with a total, and the first byte of the body.
    let total = (1_u32 << 20).to_le_bytes();
    let begun = frame(&envelope(1, 4, id_of(0), &[&total[..], b"x"].concat()));
    let piece = frame(&envelope(2, 0, id_of(0), b"x"));
    assert!(raw.write(&[calls_begin(), begun].concat()));
    while raw.write(&piece) {
        thread::yield_now();
    }
    let is_slow = |reason: &CloseReason| matches!(reason, CloseReason::Slow { .. });
    let reason = std::iter::repeat_with(|| reasons.recv_timeout(PATIENCE).unwrap())
        .find(|reason| !matches!(reason, CloseReason::PeerClosed))
        .unwrap();
    assert!(is_slow(&reason), "{reason}");
}
