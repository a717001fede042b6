//! Handlers and hooks of a server.

use crate::common::raw::{calls_begin, request};
use crate::common::{Backend, Local, PATIENCE, on_wine};
use msgpipe::framing::{GoodbyeCode, Layer};
use msgpipe::{CloseReason, Error, ErrorReply, Limits, MessageServer, Server, ServerOptions};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

crate::on_every_transport!(
    a_handler_that_panics_answers_with_an_error_and_the_server_goes_on,
    no_error_of_a_handler_claims_that_the_request_was_not_begun,
    a_responder_learns_that_its_client_has_disconnected,
    a_server_runs_on_any_server_of_messages,
);
crate::on_named_transports!(
    a_hook_that_panics_does_not_end_the_server,
    the_hooks_report_connections_and_the_reasons_of_their_end,
    an_error_that_is_too_long_keeps_its_code,
);

/// So that the panics of these tests do not print.
fn panic_quietly(what: &str) {
    std::panic::resume_unwind(Box::new(what.to_owned()));
}

fn a_handler_that_panics_answers_with_an_error_and_the_server_goes_on<B: Backend>() {
    for deferred in [false, true] {
        let backend = B::new();
        let (tell, panics) = mpsc::channel();
        let server = backend.serve_calls(&Limits::default()).unwrap();
        let server = server.on_panic(move |_, text| tell.send(text.to_owned()).unwrap());
        let stopper = server.stopper();
        let serving = thread::spawn(move || match deferred {
            false => server.serve(|request| {
                if request.body() == "panic" {
                    panic_quietly("in the loop");
                }
                "fine"
            }),
            true => server.serve_deferred(|request, responder| {
                match &request.body()[..] {
                    b"panic" => panic_quietly("in the loop"),
                    // The panic of another thread is that thread's; its caller is answered all the same.
                    b"elsewhere" => drop(thread::spawn(move || {
                        let _responder = responder;
                        panic_quietly("elsewhere");
                    })),
                    _ => responder.reply("fine"),
                }
            }),
        });
        let client = backend.client(&Limits::default()).unwrap();
        let asked: &[&str] =
            if deferred { &["panic", "elsewhere", "panic"] } else { &["panic"; 2] };
        for asked in asked {
            let error = client.call(*asked).unwrap_err();
            let reply = error.reply().expect("an answer");
            assert_eq!((reply.code, &*reply.text), (ErrorReply::FAILED, "the handler panicked"));
            assert_eq!(client.call("and now").unwrap(), "fine");
        }
        stopper.stop();
        serving.join().unwrap().unwrap();
        assert_eq!(panics.iter().collect::<Vec<_>>(), ["in the loop"; 2]);
    }
}

/// A panic payload that panics again when it is dropped.
struct Again;

impl Drop for Again {
    fn drop(&mut self) {
        panic_quietly("again");
    }
}

fn a_hook_that_panics_does_not_end_the_server<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&Limits::default()).unwrap();
    let server = server
        .on_connected(|_| std::panic::resume_unwind(Box::new(Again)))
        .on_panic(|_, _| panic_quietly("told of a panic"))
        .on_closed(|_, _| panic_quietly("told of an end"));
    let stopper = server.stopper();
    let serving = thread::spawn(move || {
        server.serve(|request| match &request.body()[..] {
            b"panic" => std::panic::resume_unwind(Box::new(Again)),
            _ => request.body(),
        })
    });
    for _ in 0..3 {
        let client = backend.client(&Limits::default()).unwrap();
        let error = client.call("panic").unwrap_err();
        assert_eq!(error.reply().map(|reply| reply.code), Some(ErrorReply::FAILED), "{error}");
        assert_eq!(client.call("fine").unwrap(), "fine");
    }
    stopper.stop();
    serving.join().unwrap().unwrap();
}

/// A handler that hands on what another server answered, as one that could not do it.
fn no_error_of_a_handler_claims_that_the_request_was_not_begun<B: Backend>() {
    for deferred in [false, true] {
        let backend = B::new();
        let server = backend.serve_calls(&Limits::default()).unwrap();
        let stopper = server.stopper();
        let answer = |body: &[u8]| -> Result<&'static str, ErrorReply> {
            let code = std::str::from_utf8(body).unwrap().parse().unwrap();
            Err(ErrorReply::new(code, "of another server"))
        };
        let serving = thread::spawn(move || match deferred {
            false => server.serve(|request| answer(&request.body())),
            true => {
                server.serve_deferred(|request, responder| responder.reply(answer(&request.body())))
            }
        });
        let client = backend.client(&Limits::default()).unwrap();
        let busy = [ErrorReply::BUSY, ErrorReply::TOO_NESTED];
        let own = [0, ErrorReply::TOO_MANY_REQUESTS, ErrorReply::STOPPING, busy[0], busy[1], 99];
        for (code, arrives) in own.map(|code| (code, ErrorReply::FAILED)).into_iter().chain([
            (ErrorReply::FAILED, ErrorReply::FAILED),
            (100, 100),
            (u16::MAX, u16::MAX),
        ]) {
            let error = client.call(code.to_string()).unwrap_err();
            assert!(!error.is_not_begun(), "{error}");
            let reply = error.reply().expect("an answer");
            assert_eq!((reply.code, &*reply.text), (arrives, "of another server"));
        }
        stopper.stop();
        serving.join().unwrap().unwrap();
    }
}

fn the_hooks_report_connections_and_the_reasons_of_their_end<B: Backend>() {
    let backend = B::new();
    let (tell, told) = mpsc::channel();
    let tell_too = tell.clone();
    let server = backend.serve_calls(&Limits::default()).unwrap();
    let server = server
        .on_connected(move |it| tell.send((it.id(), it.peer().clone(), None)).unwrap())
        .on_closed(move |it, why| {
            tell_too.send((it.id(), it.peer().clone(), Some(why.clone()))).unwrap()
        });
    let stopper = server.stopper();
    let serving = thread::spawn(move || server.serve(|request| request.body()));
    let client = backend.client(&Limits::default()).unwrap();
    client.call("hello").unwrap();
    let (id, peer, came) = told.recv_timeout(PATIENCE).unwrap();
    assert!(came.is_none() && peer.pid == Some(std::process::id()), "{peer}");
    drop(client);
    let (gone, who, why) = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!((gone, who), (id, peer));
    assert!(matches!(why, Some(CloseReason::PeerClosed)), "{why:?}");
    // One that breaks the rules, and by which.
    let mut raw = backend.raw();
    raw.write(&[&calls_begin()[..], &[0xFF; 8]].concat());
    let why = loop {
        if let (_, _, Some(why)) = told.recv_timeout(PATIENCE).unwrap() {
            if !matches!(why, CloseReason::PeerClosed) {
                break why;
            }
        }
    };
    assert!(matches!(why, CloseReason::Peer(_)), "{why}");
    stopper.stop();
    serving.join().unwrap().unwrap();
}

fn a_responder_learns_that_its_client_has_disconnected<B: Backend>() {
    let backend = B::new();
    let (asked, asks) = mpsc::channel();
    let (tell, left) = mpsc::channel();
    let server = backend.serve_calls(&Limits::default()).unwrap();
    let server = server.on_closed(move |_, _| tell.send(()).unwrap());
    let stopper = server.stopper();
    let serving = thread::spawn(move || {
        server.serve_deferred(move |request, responder| asked.send((request, responder)).unwrap())
    });
    let client = backend.client(&Limits::default()).unwrap();
    let call = client.start("a long question").unwrap();
    let (request, responder) = asks.recv_timeout(PATIENCE).unwrap();
    assert!(!request.is_cancelled() && !responder.is_cancelled());
    drop((call, client));
    left.recv_timeout(PATIENCE).unwrap();
    assert!(request.is_cancelled() && responder.is_cancelled());
    responder.reply("to nobody");
    stopper.stop();
    serving.join().unwrap().unwrap();
}

/// A caller must be able to tell "not begun" from "was carried out", however little room it has.
fn an_error_that_is_too_long_keeps_its_code<B: Backend>() {
    let backend = B::new();
    let mut limits = Limits::default();
    limits.in_flight = 1;
    let server = backend.serve_calls(&limits).unwrap();
    let stopper = server.stopper();
    let (tell, held) = mpsc::channel();
    let length = Arc::new(AtomicUsize::new(0));
    let asked = length.clone();
    let serving = thread::spawn(move || {
        server.serve_deferred(move |request, responder| match &request.body()[..] {
            b"hold" => tell.send(responder).unwrap(),
            _ => responder.reply(Err::<&str, _>(ErrorReply::new(
                404,
                "é".repeat(asked.load(Ordering::SeqCst)),
            ))),
        })
    });
    // An error is not bounded by the client's limit of a message: its text is cut at 4096 bytes.
    for room in [0, 1, 20, 10_000] {
        let mut small = Limits::default();
        small.message = room;
        let client = backend.client(&small).unwrap();
        let code =
            |error: Error| error.reply().unwrap_or_else(|| panic!("{room}: {error}")).clone();
        for (sent, arrives) in [(2047, 2047), (2048, 2048), (2049, 2048)] {
            length.store(sent, Ordering::SeqCst);
            let reply = code(client.call("").unwrap_err());
            assert_eq!(reply.code, 404);
            assert_eq!(reply.text, "é".repeat(arrives), "{room}");
        }
        if room >= 20 {
            let call = client.start("hold").unwrap();
            let responder = held.recv_timeout(PATIENCE).unwrap();
            let error = client.call("one too many").unwrap_err();
            assert!(error.is_not_begun(), "{error}");
            assert_eq!(code(error).code, ErrorReply::TOO_MANY_REQUESTS);
            responder.reply("");
            call.wait().unwrap();
        }
    }
    stopper.stop();
    serving.join().unwrap().unwrap();
}

fn a_server_runs_on_any_server_of_messages<B: Backend>() {
    let backend = B::new();
    let messages: Box<dyn MessageServer + Send> =
        Box::new(backend.listen_for_calls(&Limits::default()));
    let server = Server::over(messages, Limits::default());
    let stopper = server.stopper();
    let serving = thread::spawn(move || server.serve(|request| request.body()));
    let client = backend.client(&Limits::default()).unwrap();
    let text = String::from("text");
    assert_eq!(client.call(&text).unwrap(), text);
    assert_eq!(client.call(b"bytes").unwrap(), "bytes");
    stopper.stop();
    serving.join().unwrap().unwrap();
}

/// Another server could otherwise start, and have the same files open.
#[test]
fn a_kept_name_is_free_when_the_server_has_ended() {
    for keeps in [false, true] {
        let backend = Local::new();
        let options = ServerOptions::new();
        let options = if keeps { options.keep_name() } else { options };
        let server = options.bind(backend.name()).unwrap();
        let stopper = server.stopper();
        let (tell, held) = mpsc::channel();
        let serving = thread::spawn(move || {
            server.serve_deferred(move |_, responder| tell.send(responder).unwrap())
        });
        let client = backend.client(&Limits::default()).unwrap();
        let call = client.start("").unwrap();
        let responder = held.recv_timeout(PATIENCE).unwrap();
        stopper.stop();
        // It still owes an answer.
        if keeps {
            // Wine lets a name have two first instances.
            if on_wine() {
                println!("skipped: that the system refuses a second first instance");
            } else {
                let error = ServerOptions::new().bind(backend.name()).unwrap_err();
                assert!(matches!(error, Error::AlreadyServed { .. }), "{error}");
            }
            let late = backend.client(&Limits::default()).unwrap();
            let error = late.call("hello?").unwrap_err();
            assert!(error.to_string().contains("the server stops"), "{error}");
        } else {
            let another = loop {
                match ServerOptions::new().bind(backend.name()) {
                    Err(Error::AlreadyServed { .. }) => thread::yield_now(),
                    another => break another.unwrap(),
                }
            };
            drop(another);
        }
        responder.reply("as owed");
        assert_eq!(call.wait().unwrap(), "as owed");
        serving.join().unwrap().unwrap();
        drop(ServerOptions::new().bind(backend.name()).unwrap());
    }
}

/// It looks like a server that has just ended, and is none.
#[test]
fn a_client_of_the_wrong_layer_learns_which_to_use() {
    let backend = Local::new();
    let mut server = backend.listen(&Limits::default()).unwrap();
    let waker = server.waker();
    let serving =
        thread::spawn(
            move || {
                while !matches!(server.poll(None).unwrap(), Some(msgpipe::Event::Woken)) {}
            },
        );
    let client = backend.client(&Limits::default()).unwrap();
    let text = client.call("hello").unwrap_err().to_string();
    assert!(text.contains("MessageClient") && text.contains("Client"), "{text}");
    let mut raw = backend.raw();
    raw.write(&[calls_begin(), request(1, b"")].concat());
    let (code, text) = crate::common::raw::goodbye_in(&raw.read_to_end(), Layer::Messages).unwrap();
    assert!(code == GoodbyeCode::PROTOCOL && text.contains("MessageClient"), "{text}");
    waker.wake();
    serving.join().unwrap();
}
