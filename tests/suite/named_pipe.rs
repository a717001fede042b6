//! What is true of pipes only. (What mio and Win32 make hard is tested beside the code that sees to
//! it, in `backends/named_pipe/traps.rs`.)

use crate::common::{Backend, Local, PATIENCE, connected, message, next, unique_name};
use msgpipe::framing::OsMessage;
use msgpipe::{
    Client, CloseReason, Endpoint, Error, Event, Limits, LocalServer, MessageClient, MessageServer,
    NameError, Server, ServerOptions,
};
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::time::Duration;

/// How many clients find an instance before the server looks: see `LISTENING` in the backend.
const AT_LEAST: usize = 2;

#[test]
fn a_connect_waits_for_a_busy_pipe_up_to_the_deadline() {
    let backend = Local::new();
    let mut server = backend.listen(&Limits::default()).unwrap();
    let mut limits = Limits::default();
    limits.connect = Duration::from_millis(100);
    // A server that does not look has only the instances that listen.
    let mut clients = Vec::new();
    let busy = loop {
        match backend.message_client(&limits) {
            Ok(client) => clients.push(client),
            Err(error) => break error,
        }
    };
    assert!(clients.len() >= AT_LEAST, "{} instances listened", clients.len());
    match busy {
        error @ Error::Busy { .. } => {
            assert!(error.to_string().contains(&format!("{:?}", limits.connect)))
        }
        error => panic!("{error}"),
    }
    // Once it polls, the waiting client is accepted.
    limits.connect = PATIENCE;
    std::thread::scope(|scope| {
        let connecting = scope.spawn(|| backend.message_client(&limits).map(drop));
        for _ in 0..=clients.len() {
            connected(&mut server);
        }
        connecting.join().unwrap().unwrap();
    });
}

#[test]
fn the_exact_pipe_is_served() {
    let pipe = format!(r"\\.\pipe\{}", unique_name());
    let endpoint = Endpoint::pipe(&pipe).unwrap();
    let server = Server::bind(&endpoint).unwrap();
    assert_eq!(server.endpoint(), pipe);
    let stopper = server.stopper();
    let serving = std::thread::spawn(move || server.serve(|request| request.body()));
    assert_eq!(Client::connect(&endpoint).unwrap().call("hello").unwrap(), "hello");
    stopper.stop();
    serving.join().unwrap().unwrap();
}

#[test]
fn a_name_is_a_pipe_with_its_user_in_it() {
    let name = unique_name();
    let mut server = LocalServer::bind(name.as_str()).unwrap();
    let client = MessageClient::connect(name.as_str()).unwrap();
    connected(&mut server);
    let sid = client.server().sid.clone().expect("who serves");
    assert_eq!(server.endpoint(), format!(r"\\.\pipe\{name}.{sid}"));
}

#[test]
fn an_endpoint_that_is_not_a_pipe_is_refused() {
    for endpoint in
        [Endpoint::path("/tmp/socket").unwrap(), Endpoint::abstract_name("name").unwrap()]
    {
        for error in [Client::connect(&endpoint).unwrap_err(), Server::bind(&endpoint).unwrap_err()]
        {
            assert!(matches!(error, Error::Name(NameError::NotHere { .. })), "{error}");
        }
    }
}

/// Nothing tells it from nothing but a read that it ends. What came before it is heard and answered, what
/// comes behind it is not heard.
#[test]
fn an_empty_message_is_a_normal_end() {
    for before in [&[][..], &["one"], &["one", "two"]] {
        let pipe = format!(r"\\.\pipe\{}", unique_name());
        let options = ServerOptions::new().framing(OsMessage::new(4096));
        let mut server = options.bind_messages(Endpoint::pipe(&pipe).unwrap()).unwrap();
        let mut client = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        for text in before.iter().copied().chain(["", "not heard"]) {
            assert_eq!(client.write(text.as_bytes()).unwrap(), text.len());
        }
        let id = connected(&mut server);
        for text in before {
            let (from, heard) = message(&mut server);
            assert_eq!((from, &heard[..]), (id, text.as_bytes()));
            server.send(id, heard).unwrap();
        }
        let Event::Closed(ended, CloseReason::PeerClosed) = next(&mut server) else {
            panic!("open")
        };
        assert_eq!(ended, id);
        let mut answers = Vec::new();
        client.read_to_end(&mut answers).unwrap();
        assert_eq!(answers, before.concat().as_bytes());
    }
}
