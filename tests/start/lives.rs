//! The life of a started server, and the ends of those who start it.

use super::roles::{PATIENCE, Scene, connect, patient};
use msgpipe::{Client, Responder, Server};
use std::sync::mpsc;
use std::thread;

/// A server that holds the requests of those who wait at it.
pub fn gate(scene: &Scene) -> (mpsc::Receiver<Responder>, impl FnOnce()) {
    let server = Server::bind(scene.gate.as_str()).unwrap();
    let stopper = server.stopper();
    let (give, waiting) = mpsc::channel();
    let serving = thread::spawn(move || {
        server.serve_deferred(|_, responder| give.send(responder).unwrap()).unwrap();
    });
    let stop = move || {
        stopper.stop();
        serving.join().unwrap();
    };
    (waiting, stop)
}

#[test]
fn a_started_server_serves_and_is_not_started_again() {
    let scene = Scene::new();
    let options = scene.starting("server");
    let first = connect(&options, &scene.name).unwrap();
    let second = connect(&options, &scene.name).unwrap();
    assert_eq!(first.call("").unwrap(), second.call("").unwrap());
    assert_ne!(first.call("").unwrap(), std::process::id().to_string());
    assert_eq!(scene.noted(), ["bound"]);
}

#[test]
fn a_server_that_writes_10_mib_serves() {
    let scene = Scene::new();
    let client = scene.connect("server that writes 10 MiB").unwrap();
    client.call("").unwrap();
}

#[test]
fn a_server_that_has_died_is_started_again_by_the_next_that_connects() {
    let scene = Scene::new();
    let options = scene.starting("server of one call");
    for starts in 1..=3 {
        let client = connect(&options, &scene.name).unwrap();
        assert_eq!(client.call("one").unwrap(), "one");
        assert!(client.call("two").is_err());
        assert_eq!(scene.noted_so("bound"), starts);
        scene.wait_until_gone();
    }
    let last = connect(&options, &scene.name).unwrap();
    drop((last.call("one"), last.call("two")));
}

/// The lock is released with its holder; of the two servers one serves.
#[test]
fn a_client_that_is_killed_while_it_starts_holds_up_nobody() {
    let scene = Scene::new();
    let (waiting, stop) = gate(&scene);
    let mut client = scene.talker("client of a server behind a gate");
    assert_eq!(client.says(), "ready");
    client.order(&scene.name);
    let first = waiting.recv_timeout(PATIENCE).unwrap();
    drop(client); // killed
    let options = scene.starting("server behind a gate");
    let options = options.limits(patient().with_start(4 * PATIENCE));
    let name = scene.name.clone();
    let second = thread::spawn(move || connect(&options, &name).map(drop));
    // Half of its time has not passed: it has got the lock.
    let other = waiting.recv_timeout(PATIENCE).unwrap();
    first.reply("yes");
    second.join().unwrap().unwrap();
    other.reply("yes");
    // Wine lets two servers have a name.
    while cfg!(unix) && scene.noted_so("already served") == 0 {
        thread::yield_now();
    }
    if cfg!(unix) {
        assert_eq!(scene.noted_so("bound"), 1, "{:?}", scene.noted());
    }
    while scene.noted_so("bound") + scene.noted_so("already served") < 2 {
        thread::yield_now();
    }
    scene.stop();
    stop();
}

/// The server has nothing of its client's output: who reads that sees its end with the client.
#[test]
fn the_output_of_a_client_ends_with_the_client() {
    let scene = Scene::new();
    let mut client = scene.talker("client that stays");
    assert_eq!(client.says(), "connected");
    client.process.kill().unwrap();
    client.rest();
    let served = Client::connect(scene.name.as_str()).unwrap().call("").unwrap();
    assert_ne!(served, "");
    assert_eq!(scene.noted(), ["bound"]);
}
