//! Real processes that are killed: a client in the middle of a message, a server in the middle of a
//! call, a server whose socket file stays.
//!
//! This test program plays the other process itself: it starts itself again with a role.

use crate::common::raw::{frame, preface};
use crate::common::roles::{NAME, READY, ROLE, kill, start, wait_to_be_killed};
use crate::common::{Backend, Local, PATIENCE, Raw, closed, connected, unique_name};
use msgpipe::framing::{FramingError, Layer};
use msgpipe::{Client, CloseReason, Error, Limits, LocalServer, MessageServer, Server};

#[test]
fn a_process_plays_its_role() {
    let name = std::env::var(NAME).unwrap_or_default();
    match std::env::var(ROLE).as_deref() {
        Ok("client in the middle of a message") => {
            let mut raw = Raw::local(&name);
            let whole = [preface(Layer::Messages), frame(&[7; 1000])].concat();
            assert!(raw.write(&whole[..500]));
            wait_to_be_killed();
        }
        Ok("server in the middle of a call") => {
            let server = Server::bind(name.as_str()).unwrap();
            println!("{READY}");
            let mut held = Vec::new();
            server.serve_deferred(|_, responder| held.push(responder)).unwrap();
        }
        Ok("server of messages") => {
            let _server = LocalServer::bind(name.as_str()).unwrap();
            wait_to_be_killed();
        }
        #[cfg(unix)]
        Ok("server that a service manager starts") => crate::handed_over::play(),
        #[cfg(unix)]
        Ok("server that a signal stops") => crate::signals::serve(&name),
        #[cfg(unix)]
        Ok(role) if crate::stopped::plays(role, &name) => {}
        Ok(role) if crate::killed::plays(role, &name) => {}
        Ok(role) if crate::killed_often::plays(role, &name) => {}
        Ok(role) if crate::hostile::plays(role, &name) => {}
        Ok(role) => panic!("no role {role:?}"),
        // Not a role: that roles can be played at all.
        Err(_) => kill(start("server of messages", &unique_name())),
    }
}

#[test]
fn a_client_killed_in_the_middle_of_a_message_ends_itself_only() {
    let backend = Local::new();
    let mut server = backend.listen(&Limits::default()).unwrap();
    let witness = backend.message_client(&Limits::default()).unwrap();
    let kept = connected(&mut server);
    let client = start("client in the middle of a message", &backend_name(&server));
    connected(&mut server);
    kill(client);
    let reason = loop {
        let (_, reason) = closed(&mut server);
        if !matches!(reason, CloseReason::PeerClosed) {
            break reason;
        }
    };
    let cut_off = FramingError::CutOff { have: 500 - 16 };
    assert!(matches!(&reason, CloseReason::Peer(error) if *error == cut_off), "{reason}");
    server.send(kept, "still here".into()).unwrap();
    assert!(server.poll(Some(std::time::Duration::ZERO)).unwrap().is_none());
    assert_eq!(witness.receive(Some(PATIENCE)).unwrap(), "still here");
}

/// The name that was bound, without what the system adds to it.
fn backend_name(server: &LocalServer) -> String {
    let endpoint = server.endpoint();
    let name = endpoint.rsplit(['/', '\\']).next().unwrap();
    let name = name.strip_suffix(".sock").unwrap_or(name);
    name.split(".S-1-").next().unwrap().to_owned()
}

#[test]
fn calls_end_when_their_server_is_killed() {
    let name = unique_name();
    let server = start("server in the middle of a call", &name);
    let mut limits = Limits::default();
    limits.call = PATIENCE;
    let client = Client::connect_with(name.as_str(), limits).unwrap();
    let calls: Vec<_> = (0..3).map(|_| client.start("never answered").unwrap()).collect();
    kill(server);
    for call in calls {
        match call.wait().unwrap_err() {
            Error::Closed { reason: CloseReason::Broken(_), .. } => {}
            error => panic!("{error}"),
        }
    }
    let Err(Error::Closed { .. }) = client.call("anybody there?") else { panic!("still answered") };
    let Err(Error::NoServer { .. }) = Client::connect(name.as_str()) else { panic!("still there") };
}

#[test]
fn the_name_of_a_killed_server_can_be_served_again() {
    let name = unique_name();
    for _ in 0..3 {
        kill(start("server of messages", &name));
        let mut server = LocalServer::bind(name.as_str()).unwrap();
        let client = msgpipe::MessageClient::connect(name.as_str()).unwrap();
        connected(&mut server);
        drop((client, server));
    }
}
