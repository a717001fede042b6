//! Clients that stall, or bring too much: what they cost the others.

use super::place::Notes;
use msgpipe::{Client, Error, Parts, Upload};

const GET: u32 = 3;
const EXPORT: u32 = 5;
const IMPORT: u32 = 6;

/// As many as the service takes at once, which is more than it has workers.
const TRANSFERS: usize = 16;

/// The bytes that an import may bring, with 64 for each note.
const IMPORT_MAX: usize = 16 << 20;

fn connect(notes: &Notes) -> Client {
    Client::connect(notes.name.as_str()).unwrap()
}

/// An import of which the first note has been taken.
fn stalled_import(client: &Client) -> (Upload, Parts) {
    let (mut upload, parts) = client.with_method(IMPORT).duplex().unwrap();
    upload.send("the first of many").unwrap();
    (upload, parts)
}

/// The first part of an export, and the rest of it that nobody reads.
fn stalled_export(client: &Client) -> Parts {
    let mut parts = client.with_method(EXPORT).stream("").unwrap();
    parts.next().unwrap().unwrap();
    parts
}

/// Notes of several MiB: more than is on its way to a client that does not read.
fn fill(notes: &Notes) -> usize {
    let mut upload = connect(notes).with_method(IMPORT).upload().unwrap();
    (0..100).for_each(|_| upload.send("x".repeat(60_000)).unwrap());
    assert_eq!(upload.finish().unwrap().wait().unwrap(), "100");
    100
}

#[test]
fn imports_that_stall_hold_nobody_up() {
    let notes = Notes::new();
    let service = notes.serve();
    let client = connect(&notes);
    let stalled: Vec<_> = (0..TRANSFERS).map(|_| stalled_import(&client)).collect();
    assert_eq!(notes.says(&["add", "milk"]), "1\n");
    assert_eq!(notes.says(&["get", "1"]), "milk\n");
    // One of them goes on, and another one gives up.
    let mut stalled = stalled.into_iter();
    let (mut upload, mut parts) = stalled.next().unwrap();
    upload.send("the second").unwrap();
    upload.end().unwrap();
    assert_eq!(parts.next().unwrap().unwrap(), "2");
    drop(stalled.next());
    assert_eq!(notes.says(&["list"]), "1\tmilk\n2\tthe first of many\n3\tthe second\n");
    drop(stalled);
    drop(client);
    notes.end(service);
}

#[test]
fn exports_that_nobody_reads_hold_nobody_up() {
    let notes = Notes::new();
    let service = notes.serve();
    let count = fill(&notes);
    // Each on a connection of its own: the parts of one connection wait for each other.
    let stalled: Vec<_> = (0..TRANSFERS)
        .map(|_| {
            let client = connect(&notes);
            (stalled_export(&client), client)
        })
        .collect();
    assert_eq!(notes.says(&["add", "milk"]), format!("{}\n", count + 1));
    // At the limit, and when one has gone.
    let error = connect(&notes).with_method(EXPORT).stream("").unwrap().next().unwrap();
    let error = error.unwrap_err().to_string();
    assert!(error.contains("16 imports, lists and exports"), "{error}");
    let mut stalled = stalled.into_iter();
    drop(stalled.next());
    let client = connect(&notes);
    while client.with_method(EXPORT).stream("").unwrap().next().unwrap().is_err() {}
    // Who reads on gets all of it.
    let (parts, _client) = stalled.next().unwrap();
    assert_eq!(parts.map(Result::unwrap).count(), count);
    drop(stalled);
    notes.end(service);
}

#[test]
fn an_import_has_a_limit() {
    let notes = Notes::new();
    let service = notes.serve();
    let client = connect(&notes);
    let import = |sizes: &[usize]| {
        let (mut upload, mut parts) = client.with_method(IMPORT).duplex().unwrap();
        for size in sizes {
            match upload.send("x".repeat(*size)) {
                Err(Error::Stopped { .. }) => break,
                sent => sent.unwrap(),
            }
        }
        let _ = upload.end();
        parts.next().unwrap().map_err(|error| error.to_string())
    };
    const NOTE: usize = 1 << 16;
    let mut sizes = vec![NOTE - 64; IMPORT_MAX / NOTE];
    assert_eq!(import(&sizes).unwrap(), "256", "at the limit");
    sizes.push(0);
    let error = import(&sizes).unwrap_err();
    assert!(error.contains("16777216 bytes"), "{error}");
    sizes.pop();
    sizes[7] += 1;
    assert!(import(&sizes).is_err(), "one byte above");
    sizes[7] -= 2;
    assert_eq!(import(&sizes).unwrap(), "256", "one byte below");
    let found = client.with_method(GET).call("512").unwrap();
    assert_eq!(found.len(), NOTE - 64);
    assert!(client.with_method(GET).call("513").is_err(), "all of an import, or nothing");
    notes.end(service);
}
