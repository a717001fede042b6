//! A crowd of silent connections, and a client that is served beside it.

use crate::common::{Backend, Local, Memory, PATIENCE};
use msgpipe::{Event, Limits, MessageClient, MessageServer};
use std::thread;

/// More than any machine has clients for one service: far beyond what a desktop ever sees.
const CROWD: usize = 10_000;

/// Connects a crowd one after the other while a server accepts; then one client sends a request.
fn silent_connections_do_not_slow_other_clients<B: Backend>(crowd: usize) {
    let backend = B::new();
    let limits = Limits::default();
    let server = backend.listen(&limits).unwrap();
    is_not_noticed(crowd, server, || backend.message_client(&limits).unwrap());
}

fn is_not_noticed(
    crowd: usize,
    mut server: impl MessageServer + Send + 'static,
    connect: impl Fn() -> MessageClient,
) {
    let waker = server.waker();
    let serving = thread::spawn(move || {
        let (mut came, mut went) = (0, 0);
        loop {
            match server.poll(Some(PATIENCE)).unwrap().expect("an event") {
                Event::Connected(_) => came += 1,
                Event::Closed(..) => went += 1,
                Event::Message(id, message) => server.send(id, message).unwrap(),
                Event::Woken => return (came, went),
                event => panic!("{event:?}"),
            }
        }
    });
    let silent: Vec<_> = (0..crowd).map(|_| connect()).collect();
    let talker = connect();
    for round in 0..100 {
        let message = format!("round {round}");
        talker.send(message.clone()).unwrap();
        assert_eq!(talker.receive(Some(PATIENCE)).unwrap(), message);
    }
    drop(silent);
    talker.send("and now").unwrap();
    assert_eq!(talker.receive(Some(PATIENCE)).unwrap(), "and now");
    waker.wake();
    let (came, went) = serving.join().unwrap();
    assert_eq!(came, crowd + 1);
    assert!(went <= crowd);
}

#[test]
fn ten_thousand_silent_connections_in_memory() {
    silent_connections_do_not_slow_other_clients::<Memory>(CROWD);
}

/// As many as the system lets one process have both ends of, up to the ten thousand.
#[cfg(unix)]
#[test]
fn ten_thousand_silent_sockets() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let spare = 1000;
    let most = limit.maximum.map_or(usize::MAX, |most| most as usize);
    let crowd = CROWD.min(most.saturating_sub(spare) / 2);
    assert!(crowd > 0, "{most} descriptors are too few for this test");
    println!("{crowd} connections, of {most} descriptors");
    silent_connections_do_not_slow_other_clients::<Local>(crowd);
}

/// Each costs a read buffer of mio's and several objects of Wine's: fewer show the same.
#[cfg(windows)]
#[test]
fn two_thousand_silent_pipes() {
    silent_connections_do_not_slow_other_clients::<Local>(CROWD / 5);
}

/// Each is watched by a thread of the system's own, as far as one can.
#[cfg(windows)]
#[test]
fn two_thousand_silent_pipes_of_whole_messages() {
    use crate::common::unique_name;
    use msgpipe::framing::OsMessage;
    use msgpipe::{ClientOptions, ServerOptions};
    let (name, framing) = (unique_name(), OsMessage::new(4096));
    let server = ServerOptions::new().framing(framing).bind_messages(name.as_str()).unwrap();
    let options = ClientOptions::new().framing(framing);
    is_not_noticed(CROWD / 5, server, || options.connect_messages(name.as_str()).unwrap());
}
