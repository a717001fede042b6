//! Properties of two endpoints that are joined in memory: whatever the framing, its limits on both sides,
//! and the cuts on the way, what was accepted for sending arrives once and in order, then the end with its
//! reason. Several messages are under way in both directions meanwhile.

#[path = "two_ends/plan.rs"]
mod plan;

use bytes::Bytes;
use msgpipe::framing::FramingError;
use msgpipe::memory::{Hub, MemoryServer};
use msgpipe::{CloseReason, Error, Event, Goodbye, Limits, MessageClient, MessageServer, Refusal};
use plan::{End, Message, Plan, plans};
use proptest::prelude::*;
use std::thread;
use std::time::Duration;

/// A deadline that only a failing test reaches.
const PATIENCE: Duration = Duration::from_secs(60);

/// The events of one end.
struct Seen {
    /// The messages that were accepted for sending.
    accepted: Vec<Bytes>,
    /// One whose sending failed because the connection had ended: it may have arrived.
    unknown: Option<Bytes>,
    received: Vec<Bytes>,
    end: CloseReason,
}

/// Serves one client until it has disconnected.
fn serve(mut server: MemoryServer, plan: &Plan) -> Seen {
    let mut left = plan.to_client.iter().map(Message::bytes);
    let mut next = None;
    let mut seen =
        Seen { accepted: Vec::new(), unknown: None, received: Vec::new(), end: CloseReason::Local };
    loop {
        let id = match server.poll(Some(PATIENCE)).unwrap().expect("it hangs") {
            Event::Connected(_) => continue,
            Event::Message(id, message) => {
                seen.received.push(message);
                id
            }
            Event::Writable(id) => id,
            Event::Closed(_, reason) => {
                seen.end = reason;
                return seen;
            }
            event => panic!("{event:?}"),
        };
        // The client's first message is here, so what it takes is known. As much as there is room for;
        // what is refused for want of it goes with the next event.
        while let Some(message) = next.take().or_else(|| left.next()) {
            match server.send(id, message.clone()) {
                Ok(()) => seen.accepted.push(message),
                Err(error) => match error.refusal {
                    Refusal::Full { .. } | Refusal::Memory { .. } => {
                        next = Some(message);
                        break;
                    }
                    Refusal::Framing(_) => assert!(!plan.carries(&message), "{error}"),
                    Refusal::Closed => {}
                    ref refusal => panic!("{refusal:?}"),
                },
            }
        }
        if let End::ServerCloses { received, code, text } = &plan.end {
            if seen.received.len() > *received {
                server.close(id, Goodbye::new(*code, text.clone()));
            }
        }
    }
}

/// Sends the messages of the plan, until all are sent or the connection has ended.
fn send_all(client: &MessageClient, plan: &Plan) -> (Vec<Bytes>, Option<Bytes>) {
    let mut accepted = Vec::new();
    for message in plan.to_server.iter().map(Message::bytes) {
        match client.send(message.clone()) {
            Ok(()) => accepted.push(message),
            Err(Error::Closed { .. }) => return (accepted, Some(message)),
            Err(Error::TooLarge { .. } | Error::Unsendable { .. }) => {
                assert!(!plan.carries(&message));
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    (accepted, None)
}

/// Two threads of a client: one sends, one receives.
fn ask(client: &MessageClient, plan: &Plan) -> Seen {
    thread::scope(|scope| {
        let sending = scope.spawn(|| send_all(client, plan));
        let mut received = Vec::new();
        let mut sending = Some(sending);
        let mut join = || sending.take().map(|thread| thread.join().unwrap());
        // Nothing of a refused message arrives.
        let arrives = plan.to_client.iter().filter(|m| plan.carries(&m.bytes())).count();
        let (end, sent) = loop {
            match plan.end {
                End::ClientCloses { received: at } if received.len() >= at => {
                    client.close();
                    break (CloseReason::Local, join());
                }
                // A client that is not read does not read either: all of its messages arrive first.
                End::ClientIsDone | End::Breaks { .. } if received.len() >= arrives => {
                    let sent = join();
                    client.close();
                    break (CloseReason::Local, sent);
                }
                _ => {}
            }
            match client.receive(Some(PATIENCE)) {
                Ok(message) => received.push(message),
                Err(Error::Closed { reason, .. }) => break (reason, join()),
                Err(error) => panic!("it hangs: {error}"),
            }
        };
        let (accepted, unknown) = sent.unwrap();
        Seen { accepted, unknown, received, end }
    })
}

/// Runs a plan, and checks what must hold of it.
fn run(plan: &Plan) {
    let hub = Hub::new();
    let mut limits = Limits::default();
    limits.queued = plan.queued;
    let server = hub.listen_with("here", limits.clone(), plan.server_framing()).unwrap();
    let stream = hub.connect_with("here", plan.faults()).unwrap();
    let framing = plan.client_framing();
    let client = MessageClient::over_framing(Box::new(stream), framing, "here", limits);
    let (at_server, at_client) = thread::scope(|scope| {
        let serving = scope.spawn(|| serve(server, plan));
        let at_client = ask(&client, plan);
        drop(client);
        (serving.join().unwrap(), at_client)
    });

    // Nothing arrives that was not sent, nothing twice, nothing out of order.
    let sent = at_client.accepted.iter().chain(&at_client.unknown);
    assert!(is_prefix(&at_server.received, sent.cloned().collect()), "at the server");
    assert!(is_prefix(&at_client.received, at_server.accepted.clone()), "at the client");
    match &plan.end {
        End::ServerCloses { code, text, .. } => {
            // All that was accepted before the close is there, then its reason.
            assert_eq!(at_client.received.len(), at_server.accepted.len(), "{}", at_client.end);
            match (&at_client.end, plan.has_goodbyes()) {
                (CloseReason::Peer(end), true) => {
                    let goodbye = FramingError::Goodbye { code: *code, text: text.clone() };
                    assert_eq!(end, &goodbye);
                }
                (CloseReason::PeerClosed, false) => {}
                (end, _) => panic!("{end:?}"),
            }
            assert!(matches!(at_server.end, CloseReason::Local), "{:?}", at_server.end);
        }
        End::ClientCloses { .. } | End::ClientIsDone => {
            // Accepted messages have been sent: they arrive, whether the client still runs or not.
            assert!(at_server.received.len() >= at_client.accepted.len(), "{}", at_server.end);
            match &at_server.end {
                CloseReason::PeerClosed => {}
                // It closed while it was sending.
                CloseReason::Peer(FramingError::CutOff { .. }) if at_client.unknown.is_some() => {}
                end => panic!("{end:?}"),
            }
        }
        End::Breaks { .. } => {}
    }
}

fn is_prefix(received: &[Bytes], sent: Vec<Bytes>) -> bool {
    sent.starts_with(received)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn accepted_messages_arrive_once_in_order_and_then_the_end(plan in plans()) {
        run(&plan);
    }
}
