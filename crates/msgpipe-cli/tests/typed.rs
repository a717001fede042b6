//! Typed services at the command line: calls in JSON, and what a new version breaks.

mod common;

use common::{name, run, scratch, succeeds};
use msgpipe::typed::{self, Interface};
use msgpipe::{Server, Workers};
use std::thread;

#[typed::service]
trait Notes {
    fn add(&self, text: String, times: Option<u32>) -> Result<String, String>;
    fn count(&self, to: u32) -> impl Iterator<Item = u32> + Send;
}

struct InMemory;

impl Notes for InMemory {
    fn add(&self, text: String, times: Option<u32>) -> Result<String, String> {
        match text.is_empty() {
            true => Err("an empty note".to_owned()),
            false => Ok(text.repeat(times.unwrap_or(1) as usize)),
        }
    }

    fn count(&self, to: u32) -> impl Iterator<Item = u32> + Send {
        0..to
    }
}

#[typed::service(name = "Notes")]
trait Newer {
    fn add(&self, text: String, times: u32) -> Result<String, String>;
}

#[test]
fn methods_are_called_in_json() {
    let name = name("typed");
    let server = Server::bind(name.as_str()).unwrap();
    let stopper = server.stopper();
    let serving =
        thread::spawn(move || server.serve_typed(Workers::new(), NotesServer::new(InMemory)));
    let add = ["call", &name, "-j", "Notes.add"];
    let called = |arguments| run(&[&add[..], &[arguments]].concat(), b"");
    assert_eq!(succeeds(&[&add[..], &[r#"{"text": "milk"}"#]].concat()), "\"milk\"");
    assert_eq!(called(r#"{"text": "ab", "times": 2}"#).1, "\"abab\"");
    let counted = succeeds(&["call", &name, "-j", "Notes.count", "-s", r#"{"to": 3}"#]);
    assert_eq!(counted, "0\n1\n2\n");
    for (arguments, status, words) in [
        (r#"{"text": ""}"#, 1, "an empty note"),
        (r#"{"text": 7}"#, 1, "text"),
        ("{}", 1, "text"),
        ("milk", 2, "an object in JSON"),
    ] {
        let (code, _, errors) = called(arguments);
        assert_eq!(code, status, "{arguments}: {errors}");
        assert!(errors.contains(words), "{arguments}: {errors}");
    }
    let (code, _, errors) = run(&["call", &name, "-j", "Notes.remove", "{}"], b"");
    assert_eq!(code, 1, "{errors}");
    let inspected = succeeds(&["inspect", &name, "--json"]);
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["methods"]["services"][0], "Notes");
    stopper.stop();
    serving.join().unwrap().unwrap();
}

#[test]
fn what_a_new_version_breaks_is_said() {
    let directory = scratch("compat");
    let write = |name: &str, interface: Interface| {
        let path = directory.join(name);
        std::fs::write(&path, interface.to_json()).unwrap();
        path.display().to_string()
    };
    let old = write("old.json", Interface::of::<NotesClient>());
    let new = write("new.json", Interface::of::<NewerClient>());
    let (code, said, _) = run(&["compat", &old, &new], b"");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("Notes.count") && said.contains("times"), "{said}");
    assert!(succeeds(&["compat", &old, &old]).contains("nothing breaks"));
    let other = directory.join("other.json");
    std::fs::write(&other, "[]").unwrap();
    let (code, _, errors) = run(&["compat", &old, other.to_str().unwrap()], b"");
    assert_eq!(code, 2, "{errors}");
    std::fs::remove_dir_all(directory).unwrap();
}
