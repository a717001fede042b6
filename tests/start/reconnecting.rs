//! Servers that die with calls in flight: what is carried out again, and what is not.

use super::roles::{PATIENCE, Scene, patient};
use msgpipe::{Backoff, CloseReason, Error, Progress, ReconnectingClient, Responder, Server};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

fn client(scene: &Scene, role: &str) -> ReconnectingClient {
    let backoff = Backoff::new().with_first(Duration::from_millis(5)).with_tries(100);
    scene.starting(role).reconnecting(scene.name.as_str(), backoff).unwrap()
}

/// A call; under Wine starting a process fails sometimes.
fn call(client: &ReconnectingClient, text: &str) -> Result<String, Error> {
    loop {
        match client.call(text) {
            Err(Error::NotStarted { problem: msgpipe::StartError::NotRun { .. }, .. })
                if cfg!(windows) => {}
            done => return Ok(String::from_utf8_lossy(&done?).into_owned()),
        }
    }
}

#[test]
fn what_may_have_been_begun_is_sent_again_only_if_it_is_idempotent() {
    let scene = Scene::new();
    let client = client(&scene, "server that dies");
    for round in 1..=3 {
        let once = format!("die {round} once");
        let error = call(&client, &once).unwrap_err();
        let Error::Closed { reason, progress: Progress::Unknown, .. } = error else {
            panic!("{error}");
        };
        assert!(matches!(reason, CloseReason::Broken(_)), "{reason}");
        let twice = format!("die {round} twice");
        assert_eq!(call(&client.idempotent(), &twice).unwrap(), twice);
        assert_eq!((scene.noted_so(&once), scene.noted_so(&twice)), (1, 2));
    }
    // The first server, and one for each that has died.
    assert_eq!(scene.noted_so("bound"), 7);
}

#[test]
fn what_was_not_begun_is_sent_again() {
    let scene = Scene::new();
    let client = client(&scene, "server that dies");
    for round in 0..5 {
        let text = format!("call {round}");
        assert_eq!(call(&client, &text).unwrap(), text);
        // The connection is open still, and nobody is there any more.
        let die = format!("die {round}");
        scene
            .starting("server that dies")
            .connect(scene.name.as_str())
            .unwrap()
            .call(die)
            .unwrap_err();
        scene.wait_until_gone();
    }
    assert!((0..5).all(|round| scene.noted_so(&format!("call {round}")) == 1));
}

/// Many calls of many threads, and a server that dies again and again in the midst of them.
#[test]
fn no_call_that_is_not_idempotent_runs_twice() {
    let scene = Scene::new();
    let client = client(&scene, "server that dies");
    let outcomes: Vec<(String, bool, Result<String, Error>)> = thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|caller| {
                let (plain, again) = (client.clone(), client.idempotent());
                scope.spawn(move || {
                    let mut outcomes = Vec::new();
                    for number in 0..12 {
                        let die = if number % 4 == 3 && caller < 2 { "die " } else { "" };
                        let text = format!("{die}{caller} {number}");
                        let is_idempotent = (caller + number) % 2 == 0;
                        let it = if is_idempotent { &again } else { &plain };
                        let outcome = call(it, &text);
                        outcomes.push((text, is_idempotent, outcome));
                    }
                    outcomes
                })
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    for (text, is_idempotent, outcome) in outcomes {
        let ran = scene.noted_so(&text);
        match outcome {
            Ok(reply) => {
                assert_eq!(reply, text);
                assert!(if is_idempotent { ran >= 1 } else { ran == 1 }, "{text} ran {ran} times");
            }
            Err(error) if is_idempotent => panic!("{text}: {error}"),
            Err(error) if error.is_not_begun() => assert_eq!(ran, 0, "{text}: {error}"),
            Err(error) => assert!(ran <= 1, "{text} ran {ran} times: {error}"),
        }
    }
}

/// The time of a call ends while the server is being started: the start goes on, and the next call has no second one.
#[test]
fn calls_with_little_time_start_one_server() {
    let scene = Scene::new();
    let server = Server::bind(scene.gate.as_str()).unwrap();
    let stopper = server.stopper();
    let (give, waiting) = mpsc::channel::<Responder>();
    let serving = thread::spawn(move || {
        server.serve_deferred(|_, responder| give.send(responder).unwrap()).unwrap();
    });
    let client = client(&scene, "server behind a gate");
    let hasty = client.with_timeout(Duration::from_millis(30));
    let first = loop {
        let error = call(&hasty, "").unwrap_err();
        assert!(error.is_not_begun(), "{error}");
        if let Ok(responder) = waiting.try_recv() {
            break responder;
        }
    };
    (0..3).for_each(|_| drop(call(&hasty, "").unwrap_err()));
    first.reply("yes");
    call(&client.with_timeout(PATIENCE), "").unwrap();
    assert_eq!(scene.noted(), ["running", "bound"]);
    stopper.stop();
    serving.join().unwrap();
}

/// The server was started by a client, and is again by the one that is left.
#[test]
fn a_server_that_its_starter_left_is_started_by_another_client() {
    let scene = Scene::new();
    let (one, other) = (client(&scene, "server that dies"), client(&scene, "server that dies"));
    assert_eq!(call(&one, "a").unwrap(), "a");
    assert_eq!(call(&other, "b").unwrap(), "b");
    drop(one);
    assert_eq!(call(&other.idempotent(), "die").unwrap(), "die");
    assert_eq!(scene.noted(), ["bound", "a", "b", "die", "bound", "die"]);
    let limits = patient();
    assert!(limits.start >= PATIENCE);
}
