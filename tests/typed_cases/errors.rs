//! How calls fail: the service's errors, those of the other side's version, and those of the connection.

use super::common::{
    Note, NoteError, NotesClient, NotesServer, PATIENCE, Serving, Store, each_way,
};
use msgpipe::typed::{self, CallError, Codec, ServiceError, What, code};
use msgpipe::{Error, ErrorReply, Server};
use serde::{Deserialize, Serialize, Serializer};

#[test]
fn the_services_own_error_keeps_its_type_and_code() {
    each_way(|notes, _| {
        let Err(CallError::Application(error)) = notes.get(7) else { panic!() };
        assert_eq!(error, NoteError::NotFound(7));
        let full = notes.add("full".into(), Vec::new()).unwrap_err();
        assert_eq!(full.application(), Some(&NoteError::Full { room: 1, all: 2 }));
        assert_eq!(full.to_string(), "full: 1 of 2");
        assert!(!full.is_not_begun());
        let wrong = notes.add("wrong".into(), Vec::new()).unwrap_err();
        assert_eq!(wrong.application(), Some(&NoteError::Wrong("wrong".into())));
    });
}

#[test]
fn a_panic_is_an_error_of_the_call_and_the_server_goes_on() {
    each_way(|notes, _| {
        let Err(CallError::Call(Error::Answered { reply, .. })) = notes.panics() else { panic!() };
        assert_eq!(reply.code, ErrorReply::FAILED);
        notes.count().unwrap();
    });
}

/// A part of the service, as another program knows it.
mod other {
    use super::*;

    #[typed::service(name = "Notes")]
    pub trait Other {
        fn add(&self, text: u64) -> Result<u64, NoteError>;
        fn get(&self, id: u64) -> Result<Others, OtherError>;
        fn count(&self) -> Vec<String>;
        fn unknown(&self, any: String) -> Result<(), NoteError>;
        fn touched(&self, id: u64) -> ();
        fn numbers(&self, up_to: u64) -> impl Iterator<Item = Option<String>>;
        fn import(&self, notes: typed::Incoming<u8>, first: u64) -> Result<u64, NoteError>;
        #[name = "Notes.list"]
        fn list_of_one(&self, notes: typed::Incoming<u8>) -> Result<u64, NoteError>;
    }

    #[derive(Debug, Serialize, Deserialize)]
    pub struct Others {
        pub tags: Vec<Tag>,
    }

    #[derive(Debug, Serialize, Deserialize)]
    pub struct Tag {
        pub name: String,
    }

    #[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
    pub enum OtherError {
        #[error("something else")]
        Else,
    }

    impl ServiceError for OtherError {}
}

use other::{OtherClient, OtherError};

#[track_caller]
fn mismatch<T, E: std::fmt::Debug>(result: Result<T, CallError<E>>, what: What) -> typed::Mismatch {
    match result {
        Err(CallError::Mismatch(mismatch)) => {
            assert_eq!(mismatch.what(), what, "{mismatch}");
            *mismatch
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it went well"),
    }
}

#[test]
fn another_version_gets_errors_that_name_method_codec_and_place() {
    let (store, _told) = Store::new();
    Serving::each(NotesServer::new(store), |serving| {
        for codec in [Codec::MessagePack, Codec::Json] {
            let other = OtherClient::new(serving.client()).with_codec(codec);
            let notes = NotesClient::new(serving.client());
            notes.clear().unwrap();
            notes.add("milk".into(), vec!["shop".into()]).unwrap();

            let unknown = other.unknown("".into());
            assert!(unknown.as_ref().unwrap_err().is_not_begun());
            let unknown = mismatch(unknown, What::Method).to_string();
            assert!(
                unknown.contains("Notes.unknown: the server does not serve this method"),
                "{unknown}"
            );

            let arguments = mismatch(other.add(7), What::Arguments);
            assert_eq!(
                (arguments.method(), arguments.codec(), arguments.place()),
                ("Notes.add", codec, "text")
            );
            assert_eq!(arguments.reply().unwrap().code, code::BAD_ARGUMENTS);
            let text = arguments.to_string();
            assert!(
                text.contains("Notes.add")
                    && text.contains(&codec.to_string())
                    && text.contains("`text`")
                    && text.contains("different versions"),
                "{text}"
            );
            assert_eq!(format!("{arguments:?}"), text); // what a `main` that returns it prints

            let reply = mismatch(other.get(1), What::Reply);
            assert_eq!((reply.method(), reply.place()), ("Notes.get", "tags[0]"));
            let text = reply.to_string();
            assert!(
                text.contains("Notes.get")
                    && text.contains(&codec.to_string())
                    && text.contains("tags[0]")
                    && text.contains("different versions"),
                "{text}"
            );
            mismatch(other.count(), What::Reply);

            let error = mismatch(other.get(9), What::Error);
            let reply = error.reply().unwrap();
            assert_eq!((reply.code, reply.text.as_str()), (404, "no note 9"));
            assert!(error.to_string().contains("no note 9"), "{error}");

            mismatch(other.touched(1), What::Arguments);
            mismatch(other.list_of_one([1]), What::Arguments);
            let mut numbers = other.numbers(3).unwrap();
            mismatch(numbers.next().unwrap(), What::Reply);
            assert!(numbers.next().is_none());
            // The method says so, by an error of its own.
            let Err(CallError::Application(NoteError::Wrong(text))) = other.import([1, 2, 3], 0)
            else {
                panic!()
            };
            assert!(text.contains("Notes.import") && text.contains(&codec.to_string()), "{text}");
        }
    });
}

#[test]
fn a_server_that_is_not_typed_is_told_by_the_error() {
    let echo = |server: Server<_>| server.serve(|request| request.into_body()).unwrap();
    let serving = Serving::in_memory(Box::new(echo));
    let notes = NotesClient::new(serving.client());
    let echoed = mismatch(notes.get(7), What::Reply);
    assert!(echoed.to_string().contains("Notes.get"), "{echoed}");
    assert!(
        mismatch(notes.caller().describe(), What::Method).to_string().contains("msgpipe.describe")
    );
    mismatch(notes.numbers(3).unwrap().next().unwrap(), What::Reply);
    mismatch(notes.export("".into(), |_| ()), What::Reply);
    let note = Note { id: 1, text: "x".into(), tags: Vec::new(), place: None };
    let Err(CallError::Call(refused)) = notes.import([note], 0) else { panic!() };
    assert_eq!(refused.reply().unwrap().code, ErrorReply::PARTS_REFUSED);
    let failing = |server: Server<_>| {
        server.serve(|_| Err::<&str, _>(ErrorReply::new(404, "no such page"))).unwrap();
    };
    let serving = Serving::in_memory(Box::new(failing));
    let error = mismatch(NotesClient::new(serving.client()).get(7), What::Error);
    assert!(error.to_string().contains("error 404: no such page"), "{error}");
}

/// What cannot be sent.
mod stubborn {
    use super::*;

    fn never<S: Serializer>(_: &u8, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it will not"))
    }

    #[derive(Debug, Default, Serialize, Deserialize)]
    pub struct Value(#[serde(serialize_with = "never")] pub u8);

    #[derive(Debug, thiserror::Error, Serialize, Deserialize)]
    #[error("stubborn as ever")]
    pub struct Error(pub Value);

    impl ServiceError for Error {
        fn code(&self) -> u16 {
            1234
        }
    }

    #[typed::service]
    pub trait Stubborn {
        fn reply(&self) -> Result<Value, String>;
        fn error(&self) -> Result<(), Error>;
        fn argument(&self, value: Value) -> Result<(), String>;
        fn items(&self) -> impl Iterator<Item = Value>;
        fn sent(&self, items: typed::Incoming<Value>) -> Result<(), String>;
        fn progress(&self, progress: typed::Progress<Value>) -> Result<Value, Error>;
        fn watch(&self, values: typed::Subscriber<Value>);
    }

    pub struct Thing(pub typed::Topic<Value>);

    impl Stubborn for Thing {
        fn reply(&self) -> Result<Value, String> {
            Ok(Value(1))
        }
        fn error(&self) -> Result<(), Error> {
            Err(Error(Value(1)))
        }
        fn argument(&self, _: Value) -> Result<(), String> {
            Ok(())
        }
        fn items(&self) -> impl Iterator<Item = Value> {
            [Value(1)].into_iter()
        }
        fn sent(&self, items: typed::Incoming<Value>) -> Result<(), String> {
            for item in items {
                item.map_err(|error| error.to_string())?;
            }
            Ok(())
        }
        fn progress(&self, progress: typed::Progress<Value>) -> Result<Value, Error> {
            assert!(!progress.report(Value(1)));
            Ok(Value(1))
        }
        fn watch(&self, values: typed::Subscriber<Value>) {
            self.0.subscribe_with(values, &Value(1));
        }
    }
}

#[test]
fn what_cannot_be_encoded_is_an_error_of_that_call() {
    use stubborn::{StubbornClient, StubbornServer, Thing, Value};
    Serving::each(StubbornServer::new(Thing(typed::Topic::default())), |serving| {
        for codec in [Codec::MessagePack, Codec::Json] {
            let client = StubbornClient::new(serving.client()).with_codec(codec);
            let reply = mismatch(client.reply(), What::Reply);
            assert_eq!(reply.reply().unwrap().code, code::BAD_REPLY);
            assert!(reply.to_string().contains("it will not"), "{reply}");
            // The error arrives with its code and text.
            let error = mismatch(client.error(), What::Error);
            let reply = error.reply().unwrap();
            assert_eq!(reply.code, 1234);
            assert!(reply.text.contains("stubborn as ever"), "{reply}");
            let argument = mismatch(client.argument(Value(1)), What::Arguments);
            assert!(argument.to_string().contains("it will not"), "{argument}");
            mismatch(client.items().unwrap().next().unwrap(), What::Reply);
            // What was sent before it may have been carried out.
            let item = client.sent([Value(1)]).unwrap_err();
            assert!(!item.is_not_begun(), "{item}");
            mismatch(client.sent([Value(1)]), What::Item);
            mismatch(client.progress(|_| ()), What::Reply);
            let mut watching = client.watch().unwrap();
            mismatch(watching.next_within(PATIENCE), What::Reply);
        }
    });
}

#[test]
fn the_end_of_a_connection_is_no_error_of_the_service() {
    each_way(|notes, _| {
        let gone = |server: Server<_>| server.serve(|_| "").unwrap();
        let serving = Serving::in_memory(Box::new(gone));
        let client = serving.client();
        client.close();
        let Err(CallError::Call(Error::Closed { .. })) = NotesClient::new(client).get(1) else {
            panic!()
        };
        notes.count().unwrap();
    });
}

#[test]
fn other_errors_are_of_other_types() {
    assert_eq!(OtherError::Else.code(), code::DEFAULT);
}
