//! Waiting for a server: how often it is tried, how long, and who ends it.

use super::roles::{PATIENCE, Scene, patient};
use msgpipe::{
    Backoff, ClientOptions, CloseReason, Error, Fault, ReconnectingClient, Server, Start,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const MILLI: Duration = Duration::from_millis(1);

/// It tries again at once.
fn eager() -> Backoff {
    Backoff::new().with_first(MILLI).with_longest(20 * MILLI).with_tries(u32::MAX)
}

fn client(scene: &Scene, backoff: Backoff) -> ReconnectingClient {
    let options = ClientOptions::new().limits(patient());
    options.reconnecting(scene.name.as_str(), backoff).unwrap()
}

/// A server in this process that echoes; it stops when dropped.
pub struct Echo(msgpipe::Stopper, Option<thread::JoinHandle<()>>, pub Arc<AtomicU32>);

impl Echo {
    pub fn start(scene: &Scene) -> Echo {
        let clients = Arc::new(AtomicU32::new(0));
        let counted = clients.clone();
        let until = Instant::now() + PATIENCE;
        let server = loop {
            match Server::bind(scene.name.as_str()) {
                Err(_) if Instant::now() < until => thread::yield_now(),
                bound => break bound.unwrap(),
            }
        };
        let server = server.on_connected(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let stopper = server.stopper();
        let serving = thread::spawn(move || server.serve(|request| request.body()).unwrap());
        Echo(stopper, Some(serving), clients)
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
    let scene = Scene::new();
    for most in [1, 2, 5] {
        let client = client(&scene, eager().with_tries(most));
        let error = client.call("").unwrap_err();
        assert!(error.is_not_begun() && error.fault() == Fault::Nobody, "{error}");
        let text = error.to_string();
        let expected =
            if most == 1 { "after 1 try;".to_owned() } else { format!("after {most} tries;") };
        assert!(text.contains(&expected), "{text}");
        assert!(text.contains(&scene.name), "{text}");
        let Error::GaveUp { tries, last, .. } = error else { panic!("{error}") };
        assert_eq!(tries, most);
        assert!(matches!(*last, Error::NoServer { .. }), "{last}");
        // The next call has tries of its own.
        assert!(matches!(client.call(""), Err(Error::GaveUp { tries, .. }) if tries == most));
        assert!(matches!(client.client(), Err(Error::GaveUp { tries, .. }) if tries == most));
    }
}

#[test]
fn the_time_of_a_call_includes_the_waiting() {
    let scene = Scene::new();
    let (began, time) = (Instant::now(), Duration::from_millis(100));
    let error = client(&scene, eager()).with_timeout(time).call("").unwrap_err();
    assert!(began.elapsed() >= time && began.elapsed() < PATIENCE);
    let Error::GaveUp { last, .. } = &error else { panic!("{error}") };
    assert!(matches!(**last, Error::NoServer { .. }) && error.is_not_begun(), "{error}");
    let none = client(&scene, eager()).with_timeout(Duration::ZERO).call("").unwrap_err();
    assert!(matches!(none, Error::Deadline { .. }) && none.is_not_begun(), "{none}");
}

#[test]
fn pauses_stay_within_their_bounds() {
    let scene = Scene::new();
    let backoff = Backoff::new().with_first(4 * MILLI).with_longest(8 * MILLI).with_tries(6);
    let client = client(&scene, backoff);
    // Each pause is at most its bound: 4 + 8 + 8 + 8 + 8.
    let fastest = (0..5).map(|_| {
        let began = Instant::now();
        client.call("").unwrap_err();
        began.elapsed()
    });
    let fastest = fastest.min().unwrap();
    assert!(fastest < Duration::from_secs(2), "{fastest:?}");
}

#[test]
fn a_call_waits_for_a_server_that_has_not_started() {
    let scene = Scene::new();
    let client = client(&scene, eager());
    assert!(client.with_timeout(50 * MILLI).call("too early").is_err());
    let waiting = thread::spawn({
        let client = client.clone();
        move || client.call("hello")
    });
    let echo = Echo::start(&scene);
    assert_eq!(waiting.join().unwrap().unwrap(), "hello");
    assert_eq!(client.call("again").unwrap(), "again");
    assert_eq!(echo.2.load(Ordering::Relaxed), 1, "there is one connection");
}

#[test]
fn of_many_threads_one_makes_the_new_connection() {
    let scene = Scene::new();
    let client = client(&scene, eager()).idempotent();
    for _ in 0..5 {
        let echo = Echo::start(&scene);
        thread::scope(|scope| {
            for number in 0..16 {
                let client = &client;
                scope.spawn(move || {
                    let text = format!("thread {number}");
                    assert_eq!(client.call(text.as_str()).unwrap(), text);
                });
            }
        });
        assert_eq!(echo.2.load(Ordering::Relaxed), 1);
    }
}

/// What a stopping server has begun it answers, and what it refuses is sent to the next one. A request that it has
/// not read when it closes may have been carried out, for all that its client knows: so they are idempotent.
#[test]
fn calls_go_on_while_the_server_is_restarted() {
    let scene = Scene::new();
    let client = &client(&scene, eager()).idempotent();
    let (stop, stopped) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let calling = scope.spawn(move || {
            let mut number = 0u32;
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                number += 1;
                assert_eq!(client.call(number.to_string()).unwrap(), number.to_string());
            }
            number
        });
        for _ in 0..20 {
            let echo = Echo::start(&scene);
            while echo.2.load(Ordering::Relaxed) == 0 && !calling.is_finished() {
                thread::yield_now();
            }
        }
        let _last = Echo::start(&scene);
        drop(stop);
        assert!(calling.join().unwrap() > 0);
    });
}

#[test]
fn a_close_ends_all_waits() {
    let scene = Scene::new();
    let client = client(&scene, Backoff::new().with_tries(u32::MAX));
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let client = client.clone();
            thread::spawn(move || client.call("nobody comes"))
        })
        .collect();
    client.close();
    for waiting in waiting {
        let error = waiting.join().unwrap().unwrap_err();
        let is_local = |it: &Error| matches!(it, Error::Closed { reason: CloseReason::Local, .. });
        assert!(is_local(&error) && error.is_not_begun(), "{error}");
    }
    let _echo = Echo::start(&scene);
    assert!(matches!(client.call(""), Err(Error::Closed { .. })), "no other one is made");
}

/// The connection that `client` returns is the application's: it may close it.
#[test]
fn a_connection_that_was_closed_is_replaced() {
    let scene = Scene::new();
    let echo = Echo::start(&scene);
    let client = client(&scene, eager());
    client.with_method(7).client().unwrap().close();
    assert_eq!(client.call("hello").unwrap(), "hello");
    assert_eq!(echo.2.load(Ordering::Relaxed), 2);
}

#[test]
fn what_another_try_does_not_mend_is_returned_at_once() {
    let scene = Scene::new();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let start = Start::hook(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Err(std::io::Error::other("no"))
    });
    let options = ClientOptions::new().limits(patient()).start_with(start);
    let client = options.reconnecting(scene.name.as_str(), eager()).unwrap();
    let error = client.call("").unwrap_err();
    assert!(matches!(error, Error::NotStarted { .. }), "{error}");
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert!(ClientOptions::new().reconnecting("no/name", eager()).is_err());
}

/// The right to connect is given back by a panic.
#[test]
fn a_hook_that_panics_holds_up_no_other_thread() {
    let scene = Scene::new();
    let calls = AtomicU32::new(0);
    let start = Start::hook(move || match calls.fetch_add(1, Ordering::Relaxed) {
        0 => panic!("of the test"),
        _ => Ok(()),
    });
    let options = ClientOptions::new().limits(patient()).start_with(start);
    let client = options.reconnecting(scene.name.as_str(), eager()).unwrap();
    let panics = client.clone();
    thread::spawn(move || panics.call("")).join().unwrap_err();
    let _echo = Echo::start(&scene);
    assert_eq!(client.call("hello").unwrap(), "hello");
}
