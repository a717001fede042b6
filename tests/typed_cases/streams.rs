//! Replies and requests of many parts, progress, and subscriptions.

use super::common::{Note, NoteError, NotesClient, PATIENCE, each_way};
use msgpipe::typed::{CallError, Update};
use msgpipe::{Error, ErrorReply};

fn note(text: &str) -> Note {
    Note { id: 0, text: text.into(), tags: Vec::new(), place: None }
}

fn texts(notes: &[&str]) -> Vec<Note> {
    notes.iter().map(|text| note(text)).collect()
}

#[test]
fn a_reply_of_many_parts_comes_in_order_and_ends() {
    each_way(|notes, _| {
        let all: Result<Vec<u64>, _> = notes.numbers(10_000).unwrap().collect();
        assert_eq!(all.unwrap(), (0..10_000).collect::<Vec<_>>());
        assert_eq!(notes.numbers(0).unwrap().count(), 0);
        notes.import(texts(&["a", "b"]), 0).unwrap();
        let list: Result<Vec<Note>, _> = notes.list(1).unwrap().collect();
        assert_eq!(list.unwrap().iter().map(|it| it.text.as_str()).collect::<String>(), "ab");
    });
}

#[test]
fn an_error_ends_a_reply_of_many_parts() {
    each_way(|notes, _| {
        let mut none = notes.list(0).unwrap();
        let first = none.next().unwrap().unwrap_err();
        assert_eq!(first.application(), Some(&NoteError::NotFound(0)));
        assert!(none.next().is_none());
        notes.import(texts(&["a", "unreadable", "b"]), 0).unwrap();
        let mut list = notes.list(1).unwrap();
        assert_eq!(list.next_within(PATIENCE).unwrap().unwrap().text, "a");
        let failed = list.next().unwrap().unwrap_err();
        assert_eq!(failed.application(), Some(&NoteError::NotFound(2)));
        assert!(list.next().is_none() && list.next_within(PATIENCE).unwrap().is_none());
        notes.clear().unwrap();
        notes.import(texts(&["a", "panic"]), 0).unwrap();
        // The end may be faster than the items before it.
        let failed = notes.list(1).unwrap().find_map(Result::err);
        let Some(CallError::Call(Error::Answered { reply, .. })) = failed else { panic!() };
        assert_eq!(reply.code, ErrorReply::FAILED);
    });
}

/// With four workers, streams that were dropped must not keep any.
#[test]
fn a_reply_that_is_dropped_frees_its_worker() {
    each_way(|notes, _| {
        for _ in 0..10 {
            let mut endless = notes.numbers(u64::MAX).unwrap();
            assert_eq!(endless.next().unwrap().unwrap(), 0);
        }
        assert_eq!(notes.count().unwrap(), 0);
    });
}

#[test]
fn a_request_of_many_parts_has_one_reply() {
    each_way(|notes, store| {
        assert_eq!(notes.import(Vec::new(), 7).unwrap(), 7);
        let many = (0..5000).map(|number| note(&number.to_string()));
        assert_eq!(notes.import(many, 0).unwrap(), 5000);
        assert_eq!(store.notes.lock().unwrap()[&5000].text, "4999");
    });
}

#[test]
fn a_method_that_stops_taking_ends_the_sending() {
    each_way(|notes, _| {
        let endless = std::iter::once(note("stop")).chain(std::iter::repeat_with(|| note("more")));
        let stopped = notes.import(endless, 0).unwrap_err();
        assert_eq!(stopped.application(), Some(&NoteError::Full { room: 0, all: 0 }));
    });
}

#[test]
fn both_directions_go_on_at_once() {
    each_way(|notes, _| {
        let (mut numbers, mut sums) = notes.sums().unwrap();
        for (number, sum) in [(1, 1), (2, 3), (3, 6)] {
            numbers.send(&number).unwrap();
            assert_eq!(sums.next_within(PATIENCE).unwrap(), Some(sum));
        }
        numbers.end().unwrap();
        assert!(sums.next().is_none());
        // Given up before its end, the method is told.
        let (mut numbers, mut sums) = notes.sums().unwrap();
        numbers.send(&1).unwrap();
        assert_eq!(sums.next().unwrap().unwrap(), 1);
        drop(numbers);
        let Some(Err(CallError::Application(NoteError::Wrong(text)))) = sums.next() else {
            panic!()
        };
        assert!(text.contains("incomplete"), "{text}");
    });
}

#[test]
fn progress_comes_before_the_reply() {
    each_way(|notes, _| {
        let mut told = Vec::new();
        let path = notes.export("path".into(), |percent| told.push(percent)).unwrap();
        assert_eq!((path.as_str(), &told[..]), ("path", &[0, 50, 100][..]));
        let failed = notes.export(String::new(), |_| ()).unwrap_err();
        assert_eq!(failed.application(), Some(&NoteError::NotFound(0)));
        let Err(CallError::Call(Error::Answered { reply, .. })) =
            notes.export("panic".into(), |_| ())
        else {
            panic!()
        };
        assert_eq!(reply.code, ErrorReply::FAILED);
    });
}

fn value(update: Option<Update<Note>>) -> Note {
    match update {
        Some(Update::Value(note)) => note,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_subscribes_gets_what_is_published_in_the_form_of_the_call() {
    each_way(|notes, store| {
        let mut news = notes.watch("state".into()).unwrap();
        assert_eq!(value(news.next_within(PATIENCE).unwrap()).text, "state");
        for text in ["a", "b"] {
            notes.add(text.into(), Vec::new()).unwrap();
            assert_eq!(value(news.next_within(PATIENCE).unwrap()).text, text);
        }
        store.news.finish();
        assert!(news.next_within(PATIENCE).unwrap().is_none());
        let mut refused = notes.watch("no such".into()).unwrap();
        let error = refused.next_within(PATIENCE).unwrap_err();
        assert_eq!(error.application(), Some(&NoteError::Wrong("no such".into())));
        let mut dropped = notes.watch("dropped".into()).unwrap();
        let Err(CallError::Call(error)) = dropped.next_within(PATIENCE) else { panic!() };
        assert_eq!(error.reply().unwrap().code, ErrorReply::UNANSWERED);
    });
}

#[test]
fn both_codecs_of_one_topic_are_served() {
    each_way(|notes, _| {
        let watching = |notes: &NotesClient| {
            let mut watching = notes.watch("state".into()).unwrap();
            value(watching.next_within(PATIENCE).unwrap());
            watching
        };
        let both = [msgpipe::typed::Codec::MessagePack, msgpipe::typed::Codec::Json];
        let all = both.map(|codec| watching(&notes.with_codec(codec)));
        notes.add("news".into(), Vec::new()).unwrap();
        for mut one in all {
            assert_eq!(value(one.next_within(PATIENCE).unwrap()).text, "news");
        }
    });
}
