//! The async client: the same calls, errors and streams.

use super::common::{
    Note, NoteError, NotesAsyncClient, NotesServer, PATIENCE, Store, limits, unique_name,
};
use futures_util::stream;
use msgpipe::typed::{CallError, Codec, What};
use msgpipe::{ClientOptions, Error, ErrorReply, Server, Workers};
use std::sync::Arc;

/// A case with the service, in both codecs.
fn each_codec<F: Future<Output = ()>>(case: impl Fn(NotesAsyncClient, Arc<Store>) -> F) {
    let (store, _told) = Store::new();
    let (store, name) = (Arc::new(store), unique_name());
    let server = Server::bind_with(name.as_str(), limits()).unwrap();
    let (stopper, service) = (server.stopper(), NotesServer::shared(store.clone()));
    let serve = move || server.serve_typed(Workers::new().threads(4), service);
    let thread = std::thread::spawn(serve);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = ClientOptions::new().limits(limits());
        let client = msgpipe::tokio::Client::connect_with(name.as_str(), &options).await.unwrap();
        for codec in [Codec::MessagePack, Codec::Json] {
            let notes = NotesAsyncClient::new(client.clone()).with_codec(codec);
            notes.clear().await.unwrap();
            let case = case(notes, store.clone());
            tokio::time::timeout(PATIENCE, case).await.expect("it hangs");
        }
    });
    stopper.stop();
    thread.join().unwrap().unwrap();
}

fn note(text: &str) -> Note {
    Note { id: 0, text: text.into(), tags: Vec::new(), place: None }
}

#[test]
fn calls_and_errors_are_those_of_the_blocking_client() {
    each_codec(|notes, _| async move {
        let (one, two) =
            tokio::join!(notes.add("a".into(), Vec::new()), notes.add("b".into(), Vec::new()));
        assert_eq!(one.unwrap() + two.unwrap(), 3);
        assert_eq!(notes.get(9).await.unwrap_err().application(), Some(&NoteError::NotFound(9)));
        let Err(CallError::Call(Error::Answered { reply, .. })) = notes.panics().await else {
            panic!()
        };
        assert_eq!(reply.code, ErrorReply::FAILED);
        notes.touched(7).await.unwrap();
        let interface = notes.caller().describe().await.unwrap();
        assert_eq!(interface.services, ["Notes"]);
        assert_eq!(interface.methods["Notes.import"].kind, "upload");
    });
}

#[test]
fn streams_go_both_ways() {
    each_codec(|notes, _| async move {
        let many = stream::iter((0..3000).map(|number| note(&number.to_string())));
        assert_eq!(notes.import(many, 0).await.unwrap(), 3000);
        let stopped = notes.import(stream::repeat_with(|| note("stop")), 0).await.unwrap_err();
        assert_eq!(stopped.application(), Some(&NoteError::Full { room: 0, all: 0 }));
        let mut list = notes.list(2999).await.unwrap();
        assert_eq!(list.next().await.unwrap().unwrap().text, "2998");
        assert_eq!(list.next().await.unwrap().unwrap().text, "2999");
        assert!(list.next().await.is_none());
        let mut none = notes.list(0).await.unwrap();
        assert!(matches!(none.next().await, Some(Err(CallError::Application(_)))));
        assert!(none.next().await.is_none());
        let (mut numbers, mut sums) = notes.sums().await.unwrap();
        for (number, sum) in [(1, 1), (2, 3)] {
            numbers.send(&number).await.unwrap();
            assert_eq!(sums.next().await.unwrap().unwrap(), sum);
        }
        numbers.end().unwrap();
        assert!(sums.next().await.is_none());
        for _ in 0..10 {
            let mut endless = notes.numbers(u64::MAX).await.unwrap();
            endless.next().await.unwrap().unwrap();
        }
    });
}

#[test]
fn progress_and_subscriptions() {
    each_codec(|notes, store| async move {
        let mut told = Vec::new();
        notes.export("path".into(), |percent| told.push(percent)).await.unwrap();
        assert_eq!(told, [0, 50, 100]);
        assert!(notes.export(String::new(), |_| ()).await.is_err());
        let mut news = notes.watch("state".into()).await.unwrap();
        assert_eq!(news.next().await.unwrap().unwrap().text, "state");
        notes.add("news".into(), Vec::new()).await.unwrap();
        assert_eq!(news.next().await.unwrap().unwrap().text, "news");
        store.news.finish();
        assert!(news.next().await.is_none());
    });
}

#[test]
fn a_server_that_is_not_typed_is_told_by_the_error() {
    let name = unique_name();
    let server = Server::bind(name.as_str()).unwrap();
    let stopper = server.stopper();
    let thread = std::thread::spawn(move || server.serve(|request| request.into_body()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = msgpipe::tokio::Client::connect(name.as_str()).await.unwrap();
        let notes = NotesAsyncClient::new(client);
        let Err(CallError::Mismatch(mismatch)) = notes.get(1).await else { panic!() };
        assert_eq!((mismatch.what(), mismatch.method()), (What::Reply, "Notes.get"));
        let Err(CallError::Mismatch(_)) = notes.export("".into(), |_| ()).await else { panic!() };
    });
    stopper.stop();
    thread.join().unwrap().unwrap();
}

fn _its_futures_go_to_other_threads(notes: NotesAsyncClient) -> impl Send + 'static {
    async move { notes.add("x".into(), Vec::new()).await }
}
