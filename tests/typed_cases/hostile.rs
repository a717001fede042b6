//! What an attacker sends: bytes that are no arguments, depth and lengths that are not there, parts that do not decode.

use super::common::{Note, NotesClient, NotesServer, Place, Serving, Store};
use msgpipe::typed::{Codec, code, number};
use msgpipe::{Client, Error, ErrorReply};

/// After an attack the server serves as before.
fn each(case: impl Fn(&Client)) {
    let (store, _told) = Store::new();
    Serving::each(NotesServer::new(store), |serving| {
        case(&serving.client());
        assert_eq!(NotesClient::new(serving.client()).new_name(1).unwrap(), 2);
    });
}

#[track_caller]
fn refused(reply: Result<msgpipe::bytes::Bytes, Error>) -> ErrorReply {
    match reply {
        Err(Error::Answered { reply, .. }) => {
            assert!([code::BAD_ARGUMENTS, code::UNKNOWN_METHOD].contains(&reply.code), "{reply}");
            reply
        }
        other => panic!("{other:?}"),
    }
}

/// Every method that takes arguments.
const METHODS: [&str; 10] =
    ["add", "get", "echo", "peer", "list", "numbers", "export", "watch", "import", "old_name"];

fn bodies() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    bodies.extend((0..=255).map(|byte| vec![0x81, byte, byte, byte]));
    bodies.extend((0..=255).map(|byte| vec![b'{', byte]));
    bodies
}

#[test]
fn bytes_that_are_no_arguments_are_refused() {
    each(|client| {
        for method in METHODS {
            let client = client.with_method(number(&format!("Notes.{method}")));
            // Fewer at once than may wait for the workers.
            for bodies in bodies().chunks(64) {
                let start = |body: &Vec<u8>| client.start(body).unwrap();
                let calls: Vec<_> = bodies.iter().map(start).collect();
                for call in calls {
                    if let Err(Error::Answered { reply, .. }) = call.wait() {
                        assert!(reply.code >= code::DEFAULT, "{reply}");
                    }
                }
            }
        }
    });
}

#[test]
fn depth_is_an_error_and_no_overflow_of_the_stack() {
    each(|client| {
        let echo = client.with_method(number("Notes.echo"));
        for depth in [200, 100_000] {
            let arrays = [b"\x81\xa4note".to_vec(), vec![0x91; depth], vec![0xc0]].concat();
            assert!(refused(echo.call(arrays)).text.contains("inside each other"));
            let unknown = [b"\x81\xa4more".to_vec(), vec![0x91; depth], vec![0xc0]].concat();
            refused(echo.call(unknown));
            let json = format!("{{\"more\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
            refused(echo.call(json));
        }
        // What a recursive type may have.
        let mut note = Note { id: 1, text: String::new(), tags: Vec::new(), place: None };
        for _ in 0..30 {
            let place = Some(Place::Old(vec![note]));
            note = Note { id: 1, text: String::new(), tags: Vec::new(), place };
        }
        let notes = NotesClient::new(client.clone());
        for codec in [Codec::MessagePack, Codec::Json] {
            assert_eq!(notes.with_codec(codec).echo(note.clone(), None).unwrap().0, note);
        }
    });
}

#[test]
fn lengths_that_are_not_there_cost_no_memory() {
    each(|client| {
        let add = client.with_method(number("Notes.add"));
        let heads: [&[u8]; 5] = [
            b"\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
            b"\xdb\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"\xc9\xff\xff\xff\xff\x01",
        ];
        for head in heads {
            let tags = [b"\x82\xa4text\xa1x\xa4tags", head, &[0xa0; 100]].concat();
            refused(add.call(tags));
        }
        refused(add.call(b"\xdf\xff\xff\xff\xff"));
    });
}

#[test]
fn what_follows_the_arguments_is_refused() {
    each(|client| {
        let get = client.with_method(number("Notes.get"));
        refused(get.call(b"\x81\xa2id\x01\x00"));
        refused(get.call("{\"id\":1} {\"id\":2}"));
        refused(get.call("{\"id\":1,\"id\":2}"));
        refused(get.call("{}"));
        refused(get.call("{\"id\":-1}"));
        refused(get.call("{\"id\":18446744073709551616}"));
    });
}

#[test]
fn a_method_that_is_not_there_is_named_by_its_number() {
    each(|client| {
        for method in [0, 1, number("Notes.ad")] {
            let reply = refused(client.with_method(method).call("{}"));
            assert!(reply.text.contains(&format!("{method:#010x}")), "{reply}");
        }
    });
}

#[test]
fn a_part_that_does_not_decode_ends_the_items() {
    each(|client| {
        let import = client.with_method(number("Notes.import"));
        for bad in [&b"\xc1"[..], b"", b"\x81", b"{}", b"\xdd\xff\xff\xff\xff"] {
            let mut upload = import.upload().unwrap();
            upload.send(b"\x81\xa5first\x00").unwrap();
            upload.send(bad).unwrap();
            let Err(Error::Answered { reply, .. }) = upload.finish().unwrap().wait() else {
                panic!()
            };
            assert!(reply.text.contains("Notes.import (MessagePack): an item is wrong"), "{reply}");
        }
        // Arguments that are none, and none at all.
        let mut upload = import.upload().unwrap();
        upload.send("nothing").unwrap();
        refused(upload.finish().unwrap().wait());
        refused(import.upload().unwrap().finish().unwrap().wait());
        // One message is a request of that one part.
        assert_eq!(import.call("{\"first\":3}").unwrap(), "3");
        // A method of one message does not take parts.
        let mut upload = client.with_method(number("Notes.get")).upload().unwrap();
        upload.send("{\"id\":1}").unwrap();
        assert!(refused(upload.finish().unwrap().wait()).text.contains("parts"));
    });
}

/// More of them than workers.
#[test]
fn clients_that_go_in_the_middle_of_an_upload_leave_no_worker_behind() {
    each(|client| {
        for _ in 0..20 {
            let mut upload = client.with_method(number("Notes.import")).upload().unwrap();
            upload.send("{\"first\":0}").unwrap();
        }
        for _ in 0..20 {
            drop(client.with_method(number("Notes.sums")).duplex().unwrap());
        }
        for _ in 0..20 {
            drop(client.with_method(number("Notes.export")).stream("{\"path\":\"x\"}").unwrap());
        }
    });
}
