//! Servers and clients that send each other what was not asked for, on every transport.

use crate::common::serving::{Serving, limits};
use crate::common::{Backend, PATIENCE, pattern};
use msgpipe::{
    Client, Connection, Error, ErrorReply, Incoming, Metadata, PartError, ServerMessage, Workers,
};
use std::sync::mpsc;
use std::thread;

crate::on_every_transport!(
    notifications_arrive_in_order_with_all_that_belongs_to_them,
    a_notification_over_the_limit_is_refused,
    a_handler_cannot_wait_for_itself_to_notify,
    a_handler_calls_its_own_client_back,
    a_handler_in_the_loop_calls_its_client_back_without_waiting,
    calls_of_both_sides_that_wait_for_each_other_end,
    both_sides_call_each_other_at_once,
);
crate::on_named_transports!(
    clients_notify_their_server,
    a_client_that_takes_nothing_makes_its_notifier_wait_and_nobody_else,
    the_end_of_a_connection_ends_its_notifier,
    a_server_calls_its_clients,
);

/// A client that listens, and how the server knows it.
fn listening<B: Backend>(
    backend: &B,
    clients: &mpsc::Receiver<Connection>,
) -> (Client, Incoming, Connection) {
    let client = backend.client(&limits()).unwrap();
    let incoming = client.incoming().unwrap();
    client.call("its settings have arrived").unwrap();
    (client, incoming, clients.recv_timeout(PATIENCE).unwrap())
}

#[track_caller]
fn notification(incoming: &mut Incoming) -> msgpipe::Notification {
    match incoming.next_within(PATIENCE).unwrap() {
        ServerMessage::Notification(it) => it,
        other => panic!("{other:?}"),
    }
}

/// Answers each call of the server with the reply of `answer` on a thread of its own.
fn answering(
    incoming: Incoming,
    answer: impl Fn(&[u8]) -> Result<String, ErrorReply> + Send + 'static,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        incoming.listen(|message| {
            if let ServerMessage::Request(request) = message {
                let reply = answer(&request.body());
                request.reply(reply);
            }
        });
    })
}

fn notifications_arrive_in_order_with_all_that_belongs_to_them<B: Backend>() {
    let backend = B::new();
    let (_serving, clients) = Serving::passing_clients(&backend, &limits());
    let (_client, mut incoming, connection) = listening(&backend, &clients);
    let metadata = Metadata::default().with(b"key", b"value").unwrap();
    let special = connection.with_method(3).with_metadata(metadata.clone());
    for at in 0..100 {
        connection.notify(at.to_string()).unwrap();
    }
    special.notify(pattern(200_000, 1)).unwrap();
    for at in 0..100 {
        let plain = notification(&mut incoming);
        assert_eq!((plain.body(), plain.method()), (at.to_string().into(), 0));
        assert!(plain.metadata().is_empty());
    }
    let special = notification(&mut incoming);
    assert!(special.body() == pattern(200_000, 1) && special.method() == 3);
    assert_eq!(*special.metadata(), metadata);
}

fn clients_notify_their_server<B: Backend>() {
    let backend = B::new();
    let (tell, told) = mpsc::channel();
    let server = backend.serve_calls(&limits()).unwrap();
    let server = server.on_notification(move |it| {
        let id = it.connection().id();
        tell.send((id, it.body(), it.method(), it.metadata().clone())).unwrap();
        std::panic::resume_unwind(Box::new("a hook may panic"));
    });
    let _serving = Serving::start(server, |request, responder| {
        responder.reply(request.connection().id().number().to_string());
    });
    let clients = [(); 2].map(|()| backend.client(&limits()).unwrap());
    for client in &clients {
        let id = client.call("").unwrap();
        let metadata = Metadata::default().with(b"key", b"value").unwrap();
        let special = client.with_method(7).with_metadata(metadata.clone());
        for at in 0..50 {
            client.notify(at.to_string()).unwrap();
        }
        special.notify("the last").unwrap();
        for at in 0..50 {
            let (from, body, method, rest) = told.recv_timeout(PATIENCE).unwrap();
            assert_eq!(from.number().to_string(), id);
            assert_eq!((body, method), (at.to_string().into(), 0));
            assert!(rest.is_empty());
        }
        let (_, body, method, rest) = told.recv_timeout(PATIENCE).unwrap();
        assert_eq!((&body[..], method, rest), (&b"the last"[..], 7, metadata));
    }
}

/// It is not closed for that, either, as one is that leaves replies unread.
fn a_client_that_takes_nothing_makes_its_notifier_wait_and_nobody_else<B: Backend>() {
    const SIZE: usize = 50_000;
    const COUNT: usize = 200;
    let backend = B::new();
    let mut impatient = limits();
    impatient.write_stall = std::time::Duration::from_millis(500);
    let (give, clients) = mpsc::channel();
    let (tell, closed) = mpsc::channel();
    let server = backend.serve_calls(&impatient).unwrap();
    let server = server.on_connected(move |client| give.send(client.clone()).unwrap());
    let server = server.on_closed(move |client, _| tell.send(client.id()).unwrap());
    let _serving = Serving::start(server, |request, responder| match &request.body()[..] {
        b"large" => responder.reply(pattern(1 << 20, 1)),
        body => responder.reply(body.to_vec()),
    });
    let (client, mut incoming, slow) = listening(&backend, &clients);
    let (_other, mut others, fast) = listening(&backend, &clients);
    let is_full = (0..10_000).any(|at| slow.try_notify(pattern(SIZE, at as u8)).is_err());
    assert!(is_full, "nothing grows without a limit");
    let notifier = slow.clone();
    let waits = thread::spawn(move || {
        (0..COUNT).try_for_each(|at| notifier.with_method(1).notify(pattern(SIZE, at as u8)))
    });
    for at in 0..60 {
        fast.notify(at.to_string()).unwrap();
        assert_eq!(notification(&mut others).body(), at.to_string());
    }
    // The time of this one begins after that of the first, and passes.
    let unread = backend.client(&limits()).unwrap();
    let calls: Vec<_> = (0..4).map(|_| unread.start("large").unwrap()).collect();
    assert_eq!(closed.recv_timeout(PATIENCE), Ok(clients.recv_timeout(PATIENCE).unwrap().id()));
    drop(calls);
    assert!(slow.is_open());
    let mut at = 0;
    while at < COUNT {
        let it = notification(&mut incoming);
        if it.method() == 1 {
            assert!(it.body() == pattern(SIZE, at as u8), "another one");
            at += 1;
        }
    }
    waits.join().unwrap().unwrap();
    assert_eq!(client.call("its calls go on").unwrap(), "its calls go on");
}

fn a_notification_over_the_limit_is_refused<B: Backend>() {
    let backend = B::new();
    let (_serving, clients) = Serving::passing_clients(&backend, &limits());
    let client = backend.client(&limits().with_message(1000)).unwrap();
    let mut incoming = client.incoming().unwrap();
    client.call("its settings have arrived").unwrap();
    let connection = clients.recv_timeout(PATIENCE).unwrap();
    for size in [999, 1000] {
        connection.notify(pattern(size, 1)).unwrap();
        assert_eq!(notification(&mut incoming).body(), pattern(size, 1));
    }
    assert_eq!(connection.notify(pattern(1001, 1)), Err(PartError::TooLarge { limit: 1000 }));
    connection.notify("goes on").unwrap();
    assert_eq!(notification(&mut incoming).body(), "goes on");
}

/// Also the one that waits.
fn the_end_of_a_connection_ends_its_notifier<B: Backend>() {
    let backend = B::new();
    let (serving, clients) = Serving::passing_clients(&backend, &limits());
    let (client, _incoming, gone) = listening(&backend, &clients);
    let (_other, _others, left) = listening(&backend, &clients);
    let notify = |connection: Connection| {
        thread::spawn(move || {
            let failed = (0..10_000).find_map(|_| connection.notify(pattern(50_000, 1)).err());
            failed.expect("nothing grows without a limit")
        })
    };
    let (one, other) = (notify(gone.clone()), notify(left.clone()));
    client.close();
    assert_eq!(one.join().unwrap(), PartError::Cancelled);
    drop(serving);
    assert_eq!(other.join().unwrap(), PartError::Cancelled);
    for connection in [gone, left] {
        assert!(!connection.is_open());
        assert_eq!(connection.try_notify("to nobody"), Err(PartError::Cancelled));
    }
}

fn a_handler_cannot_wait_for_itself_to_notify<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let _serving = Serving::start(server, |request, responder| {
        let connection = request.connection();
        let refused = (0..10_000).find_map(|_| connection.notify(pattern(50_000, 1)).err());
        responder.reply(match refused {
            Some(PartError::Full(body)) => body.len().to_string(),
            other => format!("{other:?}"),
        });
    });
    let client = backend.client(&limits()).unwrap();
    let _incoming = client.incoming().unwrap();
    assert_eq!(client.call("").unwrap(), "50000");
}

fn a_server_calls_its_clients<B: Backend>() {
    let backend = B::new();
    let (_serving, clients) = Serving::passing_clients(&backend, &limits());
    let mut listeners = Vec::new();
    for number in 0..3 {
        let (client, incoming, connection) = listening(&backend, &clients);
        let listener = answering(incoming, move |body| match body {
            b"fail" => Err(ErrorReply::new(404, "no such thing").with_details("details")),
            body => Ok(format!("{number} {}", String::from_utf8_lossy(body))),
        });
        listeners.push((client, listener, connection));
    }
    thread::scope(|scope| {
        for (number, (_, _, connection)) in listeners.iter().enumerate() {
            scope.spawn(move || {
                for at in 0..50 {
                    let reply = connection.call(at.to_string()).unwrap();
                    assert_eq!(reply, format!("{number} {at}"));
                }
                let started: Vec<_> =
                    (0..50).map(|at| connection.start(at.to_string()).unwrap()).collect();
                for (at, call) in started.into_iter().enumerate() {
                    assert_eq!(call.wait().unwrap(), format!("{number} {at}"));
                }
                assert!(connection.call(pattern(300_000, b'a')).unwrap().len() > 300_000);
                match connection.call("fail").unwrap_err() {
                    Error::Answered { reply, .. } => {
                        assert_eq!((reply.code, &reply.details[..]), (404, &b"details"[..]));
                    }
                    other => panic!("{other}"),
                }
            });
        }
    });
    for (client, listener, _) in listeners {
        client.close();
        listener.join().unwrap();
    }
}

fn a_handler_calls_its_own_client_back<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let workers = Workers::new().threads(2);
    let _serving = Serving::workers(server, workers, |request, responder| {
        let answer = request.connection().call("may I?").map_err(|error| error.to_string());
        responder.reply(answer.map(|it| [&request.body()[..], b": ", &it].concat()));
    });
    let client = backend.client(&limits()).unwrap();
    let listener = answering(client.incoming().unwrap(), |question| match question {
        b"may I?" => Ok("you may".to_owned()),
        _ => Err(ErrorReply::new(400, "what?")),
    });
    for at in 0..20 {
        assert_eq!(client.call(at.to_string()).unwrap(), format!("{at}: you may"));
    }
    client.close();
    listener.join().unwrap();
}

fn a_handler_in_the_loop_calls_its_client_back_without_waiting<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let _serving = Serving::start(server, |request, responder| {
        let call = request.connection().start("may I?").unwrap();
        call.then(move |answer| responder.reply(answer.map_err(|error| error.to_string())));
    });
    let client = backend.client(&limits()).unwrap();
    let listener = answering(client.incoming().unwrap(), |_| Ok("you may".to_owned()));
    let calls: Vec<_> = (0..20).map(|_| client.start("").unwrap()).collect();
    for call in calls {
        assert_eq!(call.wait().unwrap(), "you may");
    }
    client.close();
    listener.join().unwrap();
}

/// The only worker waits for the client, which calls the server: that would wait for itself.
fn calls_of_both_sides_that_wait_for_each_other_end<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let workers = Workers::new().threads(1);
    let _serving = Serving::workers(server, workers, |request, responder| {
        let answer = match &request.body()[..] {
            b"ask" => request.connection().call("may I?"),
            _ => Ok("done".into()),
        };
        responder.reply(answer.map_err(|error| error.to_string()));
    });
    let client = backend.client(&limits()).unwrap();
    let back = client.clone();
    let listener = answering(client.incoming().unwrap(), move |_| match back.call("and I?") {
        Err(Error::Answered { reply, .. }) => Ok(reply.code.to_string()),
        other => Ok(format!("{other:?}")),
    });
    assert_eq!(client.call("ask").unwrap(), ErrorReply::TOO_NESTED.to_string());
    assert_eq!(client.call("goes on").unwrap(), "done");
    client.close();
    listener.join().unwrap();
}

fn both_sides_call_each_other_at_once<B: Backend>() {
    let backend = B::new();
    let (_serving, clients) = Serving::passing_clients(&backend, &limits());
    let (client, incoming, connection) = listening(&backend, &clients);
    let listener = answering(incoming, |body| Ok(String::from_utf8_lossy(body).into_owned()));
    thread::scope(|scope| {
        for of_thread in 0..3 {
            let (client, connection) = (&client, &connection);
            scope.spawn(move || {
                for at in 0..100 {
                    let text = format!("{of_thread} {at}");
                    assert_eq!(client.call(text.as_str()).unwrap(), text);
                }
            });
            scope.spawn(move || {
                for at in 0..100 {
                    let text = format!("{of_thread} {at}");
                    assert_eq!(connection.call(text.as_str()).unwrap(), text);
                }
            });
        }
    });
    client.close();
    listener.join().unwrap();
}
