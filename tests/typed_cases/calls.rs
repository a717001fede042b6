//! Calls with one reply, and without one.

use super::common::{Note, NotesClient, NotesServer, Place, Serving, Store, each_way};
use msgpipe::typed::{self, CallError, Codec, Service, number};
use msgpipe::{Backoff, Client, ClientOptions, Error, ErrorReply, Server};
use std::sync::Arc;

#[test]
fn values_come_back_and_errors_keep_their_types() {
    each_way(|notes, _| {
        assert_eq!(notes.add("milk".into(), vec!["shop".into()]).unwrap(), 1);
        let note = notes.get(1).unwrap();
        assert_eq!((note.text.as_str(), &note.tags[..]), ("milk", &["shop".to_owned()][..]));
        assert_eq!(notes.count().unwrap(), 1);
        notes.clear().unwrap();
        assert_eq!(notes.count().unwrap(), 0);
        assert_eq!(notes.new_name(7).unwrap(), 8);
        let peer = notes.peer("I am".into()).unwrap();
        assert_eq!(peer, "I am Notes.peer true true");
    });
}

#[test]
fn what_is_inside_each_other_comes_back_too() {
    each_way(|notes, _| {
        let inner =
            Note { id: u64::MAX, text: "\u{1F4DD}\n\"".into(), tags: Vec::new(), place: None };
        let old = Some(Place::Old(vec![inner.clone(), inner]));
        let outer = Note { id: 0, text: String::new(), tags: vec![String::new()], place: old };
        for place in [None, Some(Place::Shelf), Some(Place::Box { number: 7 })] {
            let back = notes.echo(outer.clone(), place.clone()).unwrap();
            assert_eq!(back, (outer.clone(), place));
        }
    });
}

#[test]
fn a_large_argument_and_reply_pass() {
    each_way(|notes, _| {
        let text = "x".repeat(3 * 1024 * 1024);
        let note = Note { id: 1, text, tags: Vec::new(), place: None };
        assert_eq!(notes.echo(note.clone(), None).unwrap().0, note);
    });
}

#[test]
fn what_is_one_way_arrives_in_order_and_what_is_wrong_is_dropped() {
    let (store, told) = Store::new();
    Serving::each(NotesServer::new(store), |serving| {
        let notes = NotesClient::new(serving.client());
        (0..100).for_each(|id| notes.touched(id).unwrap());
        notes.count().unwrap();
        let in_order: Vec<_> = (0..100).map(|id| (id, "Notes.touched")).collect();
        assert_eq!(told.iter().take(100).collect::<Vec<_>>(), in_order);
        let plain = serving.client().with_method(number("Notes.touched"));
        plain.notify("{\"id\": false}").unwrap();
        plain.with_method(7).notify("{}").unwrap();
        plain.with_method(number("Notes.add")).notify("{}").unwrap();
        plain.notify("{\"id\": 7}").unwrap();
        NotesClient::new(plain).count().unwrap();
        assert_eq!(told.recv(), Ok((7, "Notes.touched")));
    });
}

#[test]
fn scripts_call_with_json_or_with_nothing() {
    let (store, _told) = Store::new();
    Serving::each(NotesServer::new(store), |serving| {
        let client = serving.client();
        let call = |method: &str, body: &str| client.with_method(number(method)).call(body);
        assert_eq!(call("Notes.clear", "{}").unwrap(), "null");
        assert_eq!(call("Notes.add", r#"{"text": "milk", "tags": []}"#).unwrap(), "1");
        let other_order = r#" {"tags": ["x"], "more": [{}], "text": "eggs"}"#;
        assert_eq!(call("Notes.add", other_order).unwrap(), "2");
        let note = r#"{"id":2,"text":"eggs","tags":["x"],"place":null}"#;
        assert_eq!(call("Notes.get", r#"{"id":2}"#).unwrap(), note);
        // Without arguments the reply is MessagePack: 2.
        assert_eq!(call("Notes.count", "").unwrap()[..], [2]);
        // The part of a name that Rust needs is not on the wire.
        assert_eq!(call("Notes.old_name", r#"{"type":1}"#).unwrap(), "2");
        let Err(Error::Answered { reply, .. }) = call("Notes.get", r#"{"id":9}"#) else { panic!() };
        let ErrorReply { code, text, details, .. } = reply;
        assert_eq!(
            (code, text.as_str(), &details[..]),
            (404, "no note 9", &br#"{"NotFound":9}"#[..])
        );
    });
}

#[test]
fn several_services_and_others_share_a_server() {
    #[typed::service(name = "Sums.v1")]
    trait Sums {
        fn add(&self, a: i64, b: i64) -> i64;
    }
    struct Adding;
    impl Sums for Adding {
        fn add(&self, a: i64, b: i64) -> i64 {
            a + b
        }
    }
    let (store, _told) = Store::new();
    let both = (NotesServer::new(store), SumsServer::new(Adding));
    Serving::each(both.clone(), |serving| {
        let (notes, sums) = (NotesClient::new(serving.client()), SumsClient::new(serving.client()));
        assert_eq!((sums.add(-7, 8).unwrap(), notes.count().unwrap()), (1, 0));
        let described = notes.caller().describe().unwrap();
        assert_eq!(described.services, ["Notes", "Sums.v1"]);
        assert_eq!(described.methods["Sums.v1.add"].number, number("Sums.v1.add"));
        assert_eq!(described.methods["Notes.get"].kind, "call");
    });
    let case = move |server: Server<_>| {
        let handler = move |request: msgpipe::Request, responder: msgpipe::Responder| match request
            .method()
        {
            0 => responder.reply("not typed"),
            _ => both.handle(request, responder),
        };
        server.serve_deferred(handler).unwrap();
    };
    let serving = Serving::in_memory(Box::new(case));
    assert_eq!(serving.client().call("").unwrap(), "not typed");
    assert_eq!(SumsClient::new(serving.client()).add(1, 1).unwrap(), 2);
}

#[test]
fn an_idempotent_call_is_sent_again_over_a_new_connection() {
    let (store, _told) = Store::new();
    let store = Arc::new(store);
    let name = format!("msgpipe.typed.again.{}", std::process::id());
    let client = ClientOptions::new().reconnecting(name.as_str(), Backoff::new()).unwrap();
    let notes = NotesClient::new(client);
    for round in 1..3 {
        let server = Server::bind(name.as_str()).unwrap();
        let (stopper, service) = (server.stopper(), NotesServer::shared(store.clone()));
        let serve = move || server.serve_typed(msgpipe::Workers::new(), service);
        let thread = std::thread::spawn(serve);
        notes.get(round).unwrap_err().application().expect("its own error, over each connection");
        assert_eq!(notes.add("milk".into(), Vec::new()).unwrap(), round);
        stopper.stop();
        thread.join().unwrap().unwrap();
    }
}

#[test]
fn the_codec_is_that_of_the_client() {
    each_way(|notes, _| {
        let codec = notes.caller().codec();
        let missing = notes.with_codec(Codec::Json).get(7).unwrap_err();
        assert!(matches!(missing, CallError::Application(_)), "{missing}");
        assert_eq!(notes.caller().codec(), codec);
    });
}

/// One client is enough for several threads.
#[test]
fn threads_share_a_client() {
    each_way(|notes, _| {
        let add = || {
            for _ in 0..50 {
                notes.add("x".into(), Vec::new()).unwrap();
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(add))));
        assert_eq!(notes.count().unwrap(), 200);
    });
}

fn _clients_are_what_threads_need(
    notes: NotesClient,
) -> impl Clone + Send + Sync + std::fmt::Debug {
    notes
}

fn _a_client_can_be_had_from(client: Client) -> NotesClient {
    NotesClient::new(client)
}
