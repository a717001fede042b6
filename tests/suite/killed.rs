//! Real processes that are killed with much in flight, and servers that call each other.

use crate::common::roles::{kill, start, wait_to_be_killed};
use crate::common::serving::{Serving, limits};
use crate::common::{PATIENCE, pattern, unique_name};
use msgpipe::framing::FramingError;
use msgpipe::{
    Client, CloseReason, Error, Interrupt, PartError, ReceiveError, ServerOptions, Topic, WhenFull,
};
use std::sync::mpsc;
use std::thread;

/// The calls and the streams in flight when a server is killed.
const CALLS: usize = 1000;
const STREAMS: usize = 100;

const HOLD: u32 = 1;
const SUBSCRIBE: u32 = 2;

fn many() -> msgpipe::Limits {
    limits().with_in_flight(2 * (CALLS + STREAMS))
}

/// Plays a role in a process of its own. `false`: there is no such role.
pub fn plays(role: &str, name: &str) -> bool {
    match role {
        "server with much in flight" => serve_much(name),
        "client in the middle of streams" => {
            let client = Client::connect(name).unwrap();
            let (mut says, mut hears) = client.duplex().unwrap();
            says.send("said").unwrap();
            assert_eq!(hears.next_within(PATIENCE).unwrap().unwrap(), "heard");
            let _call = client.start("never answered").unwrap();
            wait_to_be_killed();
        }
        _ => return false,
    }
    true
}

fn serve_much(name: &str) {
    let server = ServerOptions::new().limits(many()).bind(name).unwrap();
    let topic = Topic::new(WhenFull::Wait);
    let publisher = topic.clone();
    thread::spawn(move || {
        loop {
            if publisher.publish(pattern(1000, 1)).queued < STREAMS {
                thread::yield_now();
            }
        }
    });
    thread::spawn(wait_to_be_killed);
    let mut held = Vec::new();
    let served = server.serve_deferred(move |request, responder| match request.method() {
        HOLD => held.push(responder),
        SUBSCRIBE => topic.subscribe(responder),
        _ => responder.reply(request.into_body()),
    });
    served.unwrap();
}

/// Each of them ends once, with that reason, and not before.
#[test]
fn all_that_is_in_flight_ends_with_its_server() {
    let name = unique_name();
    let server = start("server with much in flight", &name);
    let client = Client::connect_with(name.as_str(), many()).unwrap();
    let hold = client.with_method(HOLD);
    let calls: Vec<_> = (0..CALLS).map(|_| hold.start("held").unwrap()).collect();
    let subscribe = client.with_method(SUBSCRIBE);
    let mut streams: Vec<_> = (0..STREAMS).map(|_| subscribe.stream("").unwrap()).collect();
    assert_eq!(client.call("echo").unwrap(), "echo");
    for stream in &mut streams {
        assert_eq!(stream.next_within(PATIENCE).unwrap().unwrap(), pattern(1000, 1));
    }
    let readers: Vec<_> = streams
        .into_iter()
        .map(|mut stream| thread::spawn(move || stream.find_map(Result::err)))
        .collect();
    kill(server);
    for reader in readers {
        let ended = reader.join().unwrap();
        assert!(is_broken(ended.as_ref()), "a stream: {ended:?}");
    }
    for call in calls {
        let ended = call.wait().err();
        assert!(is_broken(ended.as_ref()), "a call: {ended:?}");
    }
}

/// The server may have been killed in the middle of a message.
fn is_broken(ended: Option<&Error>) -> bool {
    let Some(Error::Closed { reason, .. }) = ended else {
        return false;
    };
    let cut_off = matches!(reason, CloseReason::Peer(FramingError::CutOff { .. }));
    cut_off || matches!(reason, CloseReason::Broken(_))
}

/// Each handler is told, in each way in which it can wait.
#[test]
fn handlers_are_told_that_their_client_was_killed() {
    let name = unique_name();
    let server = ServerOptions::new().limits(limits()).bind(name.as_str()).unwrap();
    let (give, given) = mpsc::channel();
    let _serving = Serving::start(server.accept_streams(), move |request, responder| {
        give.send((request, responder)).unwrap();
    });
    let client = thread::spawn(move || start("client in the middle of streams", &name));
    let (stream, responder) = given.recv_timeout(PATIENCE).unwrap();
    let mut says = stream.into_parts();
    assert_eq!(says.next_within(PATIENCE).unwrap().unwrap(), "said");
    let mut hears = responder.into_parts();
    hears.send("heard").unwrap();
    let (_, responder) = given.recv_timeout(PATIENCE).unwrap();
    let (tell, told) = mpsc::channel();
    responder.on_interrupt(move |why| tell.send(why).unwrap());
    let reader = thread::spawn(move || says.next_within(PATIENCE));
    let sender = thread::spawn(move || {
        loop {
            if let Err(ended) = hears.send(pattern(60_000, 1)) {
                return ended;
            }
        }
    });
    kill(client.join().unwrap());
    assert_eq!(reader.join().unwrap(), Err(ReceiveError::Cancelled));
    assert_eq!(sender.join().unwrap(), PartError::Cancelled);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Interrupt::Closed));
    assert!(responder.is_cancelled());
}

/// A request of a number above zero asks the other server for the number below.
fn counting_down(name: &str, other: &str) -> Serving {
    let server = ServerOptions::new().limits(limits()).bind(name).unwrap();
    let other = other.to_owned();
    Serving::start(server, move |request, responder| {
        let other = other.clone();
        thread::spawn(move || {
            let number: u32 = String::from_utf8_lossy(&request.body()).parse().unwrap();
            let below = number.checked_sub(1).map(|below| {
                let client = Client::connect_with(other.as_str(), limits())?;
                client.call(below.to_string())
            });
            responder.reply(match below {
                None => Ok("0".to_owned()),
                Some(Ok(below)) => Ok(format!("{number} {}", String::from_utf8_lossy(&below))),
                Some(Err(error)) => Err(error.to_string()),
            });
        });
    })
}

#[test]
fn two_servers_call_each_other() {
    let (one, other) = (unique_name(), unique_name());
    let _servers = (counting_down(&one, &other), counting_down(&other, &one));
    thread::scope(|scope| {
        for name in [&one, &other, &one, &other] {
            scope.spawn(move || {
                let client = Client::connect_with(name.as_str(), limits()).unwrap();
                assert_eq!(client.call("9").unwrap(), "9 8 7 6 5 4 3 2 1 0");
            });
        }
    });
}
