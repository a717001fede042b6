//! Real processes that are stopped (SIGSTOP) for longer than the limits of the others, and go on then (SIGCONT).

use crate::common::raw::{calls_begin, request};
use crate::common::roles::{READY, start};
use crate::common::serving::{Serving, limits};
use crate::common::{PATIENCE, Raw, pattern, unique_name};
use msgpipe::{Client, CloseReason, Error, Limits, ServerOptions};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::process::Child;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The limits on the peers of the process under test.
const SHORT: Duration = Duration::from_millis(200);

/// For longer than those.
const LONG: Duration = Duration::from_millis(600);

fn short() -> Limits {
    let mut short = limits();
    (short.message_time, short.write_stall, short.preface) = (SHORT, SHORT, SHORT);
    short
}

/// Plays a role in a process of its own. `false`: there is no such role.
pub fn plays(role: &str, name: &str) -> bool {
    match role {
        "server that is stopped" => {
            let server = ServerOptions::new().limits(short()).bind(name).unwrap();
            println!("{READY}");
            server.serve(|request| request.into_body()).unwrap();
        }
        "client that is stopped" => reads_much(name),
        _ => return false,
    }
    true
}

/// Large replies are on their way all the time.
fn reads_much(name: &str) {
    let client = Client::connect_with(name, limits()).unwrap();
    let mut calls: Vec<_> = (0..4).map(|_| client.start("much").unwrap()).collect();
    println!("{READY}");
    loop {
        calls.push(match client.start("much") {
            Ok(call) => call,
            Err(error) => return assert!(matches!(error, Error::Closed { .. }), "{error}"),
        });
        if let Err(error) = calls.remove(0).wait() {
            return assert!(matches!(error, Error::Closed { .. }), "{error}");
        }
    }
}

/// Stops a process, and waits until all of its threads stand still.
fn stop(child: &Child) {
    let id = Pid::from_child(child);
    kill_process(id, Signal::STOP).unwrap();
    let (_, state) = waitpid(Some(id), WaitOptions::UNTRACED).unwrap().unwrap();
    assert!(state.stopped());
}

fn go_on(child: &Child) {
    kill_process(Pid::from_child(child), Signal::CONT).unwrap();
}

/// What its clients sent meanwhile is read before anybody is blamed for being late.
#[test]
fn a_server_that_was_stopped_blames_none_of_its_clients() {
    let name = unique_name();
    let mut server = start("server that is stopped", &name);
    let client = Client::connect_with(name.as_str(), limits()).unwrap();
    assert_eq!(client.call("before").unwrap(), "before");
    let whole = [calls_begin(), request(1, &pattern(1000, 1))].concat();
    let mut late = Raw::local(&name);
    let (begun, rest) = whole.split_at(whole.len() - 500);
    assert!(late.write(begun));
    // Now it has read that.
    assert_eq!(client.call("between").unwrap(), "between");

    stop(&server);
    assert!(late.write(rest));
    let sending = {
        let client = client.clone();
        thread::spawn(move || client.call(pattern(8 << 20, 2)))
    };
    let missed = client.with_timeout(LONG).call("lost");
    assert!(matches!(missed, Err(Error::Deadline { .. })), "{missed:?}");
    // Their prefaces and requests are there before it goes on.
    let mut new = Raw::local(&name);
    assert!(new.write(&whole));
    go_on(&server);

    assert_eq!(client.call("after").unwrap(), "after");
    assert!(sending.join().unwrap().unwrap() == pattern(8 << 20, 2));
    for mut raw in [late, new] {
        let mut read = Vec::new();
        while !read.windows(1000).any(|part| part == &pattern(1000, 1)[..]) {
            let more = raw.read();
            assert!(!more.is_empty(), "it was closed after {read:?}");
            read.extend(more);
        }
    }
    server.kill().unwrap();
    server.wait().unwrap();
}

/// It is closed, delays nobody, and learns it when it goes on.
#[test]
fn a_client_that_is_stopped_is_closed_and_delays_nobody() {
    let name = unique_name();
    let server = ServerOptions::new().limits(short()).bind(name.as_str()).unwrap();
    let (tell, ends) = mpsc::channel();
    let server = server.on_closed(move |_, reason| drop(tell.send(reason.clone())));
    let much = pattern(1 << 20, 3);
    let _serving = Serving::start(server, move |request, responder| match &request.body()[..] {
        b"much" => responder.reply(much.clone()),
        _ => responder.reply(request.body()),
    });
    let other = Client::connect_with(name.as_str(), limits()).unwrap();
    assert_eq!(other.call("before").unwrap(), "before");
    let mut stopped = start("client that is stopped", &name);

    stop(&stopped);
    let until = Instant::now() + PATIENCE;
    let reason = loop {
        assert!(Instant::now() < until, "it is not closed");
        assert_eq!(other.call("meanwhile").unwrap(), "meanwhile");
        match ends.try_recv() {
            Ok(reason) => break reason,
            Err(mpsc::TryRecvError::Empty) => {}
            Err(mpsc::TryRecvError::Disconnected) => panic!("the server has ended"),
        }
    };
    assert!(matches!(reason, CloseReason::Unread { .. }), "{reason}");
    go_on(&stopped);

    assert!(stopped.wait().unwrap().success(), "it did not learn why");
    assert_eq!(other.call("after").unwrap(), "after");
    assert!(ends.recv_timeout(Duration::ZERO).is_err());
}
