//! Threads that listen to a server, and call it meanwhile, on every transport.

use crate::common::by_hand::{ByHand, by_hand};
use crate::common::serving::limits;
use crate::common::{Backend, PATIENCE};
use msgpipe::exchange::Message;
use msgpipe::{Client, CloseReason, ErrorReply, Incoming, MessageServer, ServerMessage};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

crate::on_every_transport!(
    a_handler_calls_on_its_own_client,
    a_panic_of_a_handler_does_not_end_the_listening,
    listening_ends_with_the_client,
    threads_call_while_one_listens,
);

fn listening<B: Backend>(backend: &B) -> (ByHand<B::Messages>, Client, Incoming) {
    let (server, client) = by_hand(backend, &limits(), &limits());
    let incoming = client.incoming().unwrap();
    (server, client, incoming)
}

fn a_handler_calls_on_its_own_client<B: Backend>() {
    let (mut server, client, incoming) = listening(&B::new());
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let listening = scope.spawn(|| {
            incoming.listen(|message| match message {
                ServerMessage::Request(request) => {
                    let reply = client.call(request.body()).unwrap();
                    request.reply([&reply[..], b", called back"].concat());
                }
                ServerMessage::Notification(it) => {
                    tell.send(client.call(it.body()).unwrap()).unwrap();
                }
                _ => {}
            })
        });
        let (first, second) = (server.call("one"), server.call("two"));
        server.notify("three");
        for _ in 0..3 {
            let (id, body) = server.request();
            server.reply(id, [&body[..], b" heard"].concat());
        }
        // The outcomes of both wait among the events.
        let mut outcomes = vec![server.outcome(first).unwrap(), server.outcome(second).unwrap()];
        outcomes.push(told.recv_timeout(PATIENCE).unwrap());
        let expected = ["one heard, called back", "two heard, called back", "three heard"];
        assert_eq!(outcomes, expected);
        client.close();
        let reason = listening.join().unwrap();
        assert!(matches!(reason, CloseReason::Local), "{reason}");
    });
}

fn a_panic_of_a_handler_does_not_end_the_listening<B: Backend>() {
    let (mut server, client, incoming) = listening(&B::new());
    let (tell, told) = mpsc::channel();
    let listening = thread::spawn(move || {
        incoming.listen(|message| match message {
            ServerMessage::Notification(it) if it.body() == "panic" => panic!("of the handler"),
            ServerMessage::Request(_request) => panic!("of the handler, too"),
            ServerMessage::Notification(it) => tell.send(it.body()).unwrap(),
            _ => {}
        })
    });
    server.notify("panic");
    let id = server.call("panic");
    assert_eq!(server.outcome(id), Err(ErrorReply::FAILED));
    server.notify("still there");
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "still there");
    client.close();
    listening.join().unwrap();
}

fn listening_ends_with_the_client<B: Backend>() {
    for by_server in [true, false] {
        let (mut server, client, incoming) = listening(&B::new());
        let heard = AtomicBool::new(false);
        thread::scope(|scope| {
            let listening =
                scope.spawn(|| incoming.listen(|_| heard.store(true, Ordering::SeqCst)));
            server.notify("hello");
            server.until(|_| heard.load(Ordering::SeqCst));
            if by_server {
                let id = server.id;
                server.messages.close(id, msgpipe::Goodbye::new(200, "the licence has ended"));
                server.until(|_| listening.is_finished());
                let reason = listening.join().unwrap().to_string();
                assert!(reason.contains("the licence has ended"), "{reason}");
            } else {
                client.close();
                assert!(matches!(listening.join().unwrap(), CloseReason::Local));
            }
        });
    }
}

fn threads_call_while_one_listens<B: Backend>() {
    const CALLS: u32 = 200;
    let (mut server, client, mut incoming) = listening(&B::new());
    thread::scope(|scope| {
        let listening = scope.spawn(move || {
            for at in 0..3 * CALLS {
                let next = incoming.next_within(PATIENCE).unwrap();
                let ServerMessage::Notification(it) = next else { panic!("{next:?}") };
                assert_eq!(it.body(), at.to_string());
            }
        });
        let callers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for at in 0..CALLS {
                        let text = at.to_string();
                        assert_eq!(client.call(&text).unwrap(), text);
                    }
                })
            })
            .collect();
        for at in 0..3 * CALLS {
            let (id, body) = server.request();
            server.machine.notify(Message::new(at.to_string().into(), false)).unwrap();
            server.reply(id, body);
        }
        server.until(|_| listening.is_finished() && callers.iter().all(|it| it.is_finished()));
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        listening.join().unwrap();
    });
}
