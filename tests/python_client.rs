//! `examples/python/client.py`: a client that is based on `docs/PROTOCOL.md` only.
#![cfg(target_os = "linux")]

mod python_client {
    pub mod streaming;
}

use msgpipe::exchange::{Config, Settings};
use msgpipe::framing::Native;
use msgpipe::{
    Endpoint, ErrorReply, Event, Goodbye, IntoReply, Limits, LocalServer, MessageServer, Request,
    Server, ServerOptions, Stopper,
};
use python_client::streaming::Streaming;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A deadline that only a failing test reaches.
const PATIENCE: Duration = Duration::from_secs(60);

/// A unique name.
fn unique(test: &str) -> String {
    format!("msgpipe.python.{}.{test}", std::process::id())
}

/// A server in a thread, until it is dropped.
struct Serving {
    /// The path of its socket.
    path: String,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    fn start<R: IntoReply>(
        name: &str,
        limits: Limits,
        handler: impl Fn(Request) -> R + Send + 'static,
    ) -> Serving {
        let server = Server::bind_with(name, limits).unwrap();
        Serving {
            path: server.endpoint().to_owned(),
            stopper: server.stopper(),
            thread: Some(thread::spawn(move || server.serve(handler).unwrap())),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stopper.stop();
        let joined = self.thread.take().map(JoinHandle::join);
        assert!(matches!(joined, Some(Ok(()))) || thread::panicking(), "the server panicked");
    }
}

/// How the client ended.
#[derive(Debug)]
struct Ended {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    /// It gave up without a reply, for a reason with `why` in it.
    #[track_caller]
    fn gave_up(&self, why: &str) {
        assert_eq!((self.status, self.stdout.as_str()), (Some(3), ""), "{self:?}");
        assert!(self.stderr.contains(why), "{why} is not in {self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
    }
}

fn client() -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/python/client.py");
    let mut command = Command::new("python3");
    // With any locale.
    command.arg("-X").arg("utf8").arg(script);
    command
}

fn run(command: &mut Command) -> Ended {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("python3 is needed to run this test: is it installed?");
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    let ended = receiver.recv_timeout(PATIENCE);
    let Output { status, stdout, stderr } = ended.expect("the client hangs").unwrap();
    Ended {
        status: status.code(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

fn call(endpoint: &str, requests: &[&str]) -> Ended {
    run(client().arg(endpoint).args(requests))
}

#[test]
fn requests_of_any_kind_get_their_replies() {
    let name = unique("Echo");
    let serving = Serving::start(&name, Limits::default(), |request| request.body());
    let long = "0123456789".repeat(500);
    let requests = ["hello", "", &long, "grüße, 世界", "again", "again"];
    // By the path, and by the name, from which the client finds the path.
    for endpoint in [&serving.path, &name] {
        let ended = call(endpoint, &requests);
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
        assert_eq!(ended.stdout, requests.join("\n") + "\n");
    }
}

#[test]
fn a_reply_larger_than_any_buffer_arrives_whole() {
    let name = unique("large");
    let size = 3_000_000;
    let serving = Serving::start(&name, Limits::default(), move |_| vec![b'x'; size]);
    let ended = call(&serving.path, &["more"]);
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout, "x".repeat(size) + "\n");
}

#[test]
fn an_error_reply_is_not_a_reply() {
    let name = unique("errors");
    let serving = Serving::start(&name, Limits::default(), |request| match &request.body()[..] {
        b"good" => Ok("fine"),
        b"bad" => Err(ErrorReply::new(404, "no such note: ü")),
        _ => Err("neither good nor bad".into()),
    });
    let ended = call(&serving.path, &["good", "bad", "", "good"]);
    assert_eq!(ended.status, Some(1));
    assert_eq!(ended.stdout, "fine\nfine\n");
    assert_eq!(ended.stderr, "error 404: no such note: ü\nerror 1: neither good nor bad\n");
}

#[test]
fn the_servers_limit_is_respected() {
    let mut limits = Limits::default();
    limits.message = 100;
    let serving = Serving::start(&unique("limit"), limits, |request| request.body());
    let (fits, too_long) = ("x".repeat(100), "x".repeat(101));
    assert_eq!(call(&serving.path, &[&fits]).stdout, fits + "\n");
    call(&serving.path, &[&too_long]).gave_up("101 bytes, the server takes 100");
}

/// A body over half of the server's window is announced, and its reply too; both go in pieces.
#[test]
fn large_bodies_are_announced_and_sent_in_pieces() {
    let limits = Limits::default().with_call_window(64 << 10);
    let serving = Serving::start(&unique("pieces"), limits, |request| request.into_body());
    // The system takes arguments of up to 128 KiB.
    let large = ["a".repeat(32_704), "b".repeat(32_705), "c".repeat(120_000)];
    let ended = call(&serving.path, &large.each_ref().map(String::as_str));
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
    assert!(ended.stdout == large.join("\n") + "\n");
}

#[test]
fn a_stream_of_messages_goes_both_ways() {
    let server = Streaming::start(&unique("stream"), Config::default());
    let ended = call("--stream", &[&server.path, "one", "", "three"]);
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(ended.stdout, "ONE\n\nTHREE\n");
    assert_eq!(call("--stream", &[&server.path, "alone"]).stdout, "ALONE\n");
}

/// Far more than the credit of the call and of the connection.
#[test]
fn a_stream_goes_on_as_it_is_taken() {
    let settings = Settings::assumed();
    let settings = Settings { body: 1 << 20, ..settings };
    let server = Streaming::start(&unique("credit"), Config { settings, ..Config::default() });
    let parts = vec!["0123456789".repeat(1000); 100];
    let words: Vec<&str> =
        std::iter::once(&*server.path).chain(parts.iter().map(String::as_str)).collect();
    let ended = call("--stream", &words);
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
    assert!(ended.stdout == parts.join("\n") + "\n");
}

#[test]
fn a_call_is_cancelled_in_the_middle_of_its_reply() {
    let server = Streaming::start(&unique("cancel"), Config::default());
    let ended = call("--cancel", &["3", &server.path, "forever", "after it"]);
    assert_eq!(ended.stderr, "aborted 2: the reply is incomplete\n");
    assert_eq!((ended.status, ended.stdout), (Some(1), "and so on\n".repeat(3) + "AFTER IT\n"));
    assert_eq!(server.heard.recv_timeout(PATIENCE).unwrap(), "cancelled: 2");
}

#[test]
fn notifications_arrive_in_order() {
    let server = Streaming::start(&unique("notify"), Config::default());
    let large = "x".repeat(100_000);
    let ended = call("--notify", &[&server.path, "one", &large, "three"]);
    assert_eq!((ended.status, ended.stdout.as_str(), &*ended.stderr), (Some(0), "", ""));
    for text in ["one", &large, "three"] {
        let heard = server.heard.recv_timeout(PATIENCE).unwrap();
        assert!(heard == format!("notified: {text}"));
    }
}

#[test]
fn a_goodbye_is_reported_with_its_text() {
    let name = Endpoint::name(&unique("goodbye")).unwrap();
    let limits = Limits::default();
    let options = ServerOptions::new().framing(Native::for_calls(limits.message));
    let mut server = options.bind_messages(&name).unwrap();
    let path = server.endpoint().to_owned();
    let calling = thread::spawn(move || call(&path, &["hello"]));
    loop {
        match server.poll(Some(PATIENCE)).unwrap().expect("no event came") {
            Event::Message(id, _) => {
                server.close(id, Goodbye::new(100, "closed for today – sorry"))
            }
            Event::Closed(..) => break,
            _ => {}
        }
    }
    let ended = calling.join().unwrap();
    ended.gave_up("said goodbye with code 100: closed for today – sorry");
}

#[test]
fn the_other_layer_is_an_error() {
    let mut server = LocalServer::bind(unique("layer").as_str()).unwrap();
    let path = server.endpoint().to_owned();
    let calling = thread::spawn(move || call(&path, &["hello"]));
    while !matches!(server.poll(Some(PATIENCE)).unwrap(), Some(Event::Closed(..))) {}
    calling.join().unwrap().gave_up("layer 0");
}

#[test]
fn a_connection_is_closed_if_the_server_breaks_the_protocol() {
    // A preface with the limit 1032.
    let good = b"\xE5msg\x01\x01\x01\0\x08\x04\0\0\0\0\x40\xF3";
    let with_preface = |frame: &[u8]| [good, frame].concat();
    let header = b"\x10\0\0\0\0\0\x94\x14"; // of a frame of 16 bytes
    let settings = [&header[..], &[11], &[0; 15]].concat();
    let reply_to_98 = [&header[..], &[2, 3, 0, 0, 98], &[0; 11]].concat();
    let cases = [
        (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), "no msgpipe server"),
        (b"\xE5msg\x02\x09".iter().chain([&0; 10]).copied().collect(), "versions 2 to 9"),
        ([&good[..15], &[0xF4]].concat(), "damaged preface"),
        (good[..15].to_vec(), "has closed the connection"),
        (with_preface(&[0; 8]), "damaged header"),
        (with_preface(&[settings.clone(), reply_to_98.clone()].concat()), "[I3]"),
        (with_preface(&reply_to_98), "[S1]"),
        (with_preface(&[settings, reply_to_98[..23].to_vec()].concat()), "has closed"),
        (with_preface(b""), "has closed the connection"),
    ];
    let path = std::env::temp_dir().join(unique("broken"));
    let listener = UnixListener::bind(&path).unwrap();
    for (bytes, why) in cases {
        let endpoint = path.to_str().unwrap().to_owned();
        let calling = thread::spawn(move || call(&endpoint, &["hello"]));
        let (mut socket, _) = listener.accept().unwrap();
        socket.write_all(&bytes).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        calling.join().unwrap().gave_up(why);
        // It sent a preface before anything else.
        let mut sent = Vec::new();
        socket.read_to_end(&mut sent).unwrap();
        assert_eq!(sent[..4], good[..4]);
    }
    std::fs::remove_file(path).unwrap();
}

/// A directory of this user's that can hold its sockets.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Directory {
        let path = std::env::temp_dir().join(unique(test));
        std::fs::create_dir(&path).unwrap();
        let directory = Directory(path);
        directory.set_mode(0o700);
        directory
    }

    fn set_mode(&self, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&self.0, std::fs::Permissions::from_mode(mode)).unwrap();
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// In a directory that was chosen, and where it cannot be used, in the places of this user's session.
#[test]
fn a_name_becomes_the_same_path_as_in_this_crate() {
    let name = unique("Nobody-is_there");
    let chosen = Directory::new("chosen");
    let in_chosen = chosen.0.join("msgpipe").join(format!("{}.sock", name.to_lowercase()));
    let path = |variable: &str| {
        let ended = run(client().env("XDG_RUNTIME_DIR", variable).args([&name, "hello"]));
        assert_eq!((ended.status, ended.stdout.as_str()), (Some(3), ""), "{ended:?}");
        assert!(ended.stderr.contains(": start it, or check the name"), "{ended:?}");
        let path = ended.stderr.split_once("no server at ").expect("a path").1.to_owned();
        path.split_once(": ").unwrap().0.to_owned()
    };
    let directory = chosen.0.to_str().unwrap();
    assert_eq!(path(directory), in_chosen.display().to_string());
    // What this process finds without the variable. (With one it would have to be set here, which
    // cannot be done while other tests run.)
    let variable = std::env::var_os("XDG_RUNTIME_DIR");
    let usual = match &variable {
        None => Endpoint::name(&name).unwrap().locate().unwrap(),
        Some(_) => path("").into(),
    };
    assert_ne!(usual, in_chosen);
    for unusable in ["", "/no/such/directory", "not/absolute"] {
        assert_eq!(path(unusable), usual.display().to_string(), "{unusable:?}");
    }
    for open in [0o770, 0o777, 0o1777] {
        chosen.set_mode(open);
        assert_eq!(path(directory), usual.display().to_string(), "mode {open:o}");
    }
}

/// The places after the first are looked at too.
#[test]
fn a_server_in_a_later_place_is_found() {
    if std::env::var_os("XDG_RUNTIME_DIR").is_some() {
        return println!("this process may have chosen a directory of its own: left out");
    }
    let name = unique("later");
    let serving = Serving::start(&name, Limits::default(), |request| request.body());
    let ended = run(client().env("XDG_RUNTIME_DIR", "/no/such/directory").args([&name, "hello"]));
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(0), "hello\n"), "{}", serving.path);
}

#[test]
fn without_a_request_it_prints_its_usage() {
    for arguments in [&[][..], &["com.example.notes"], &["--what", "com.example.notes", "x"]] {
        let ended = run(client().args(arguments));
        assert_eq!((ended.status, ended.stdout.as_str()), (Some(2), ""));
        assert!(ended.stderr.contains("ENDPOINT TEXT..."));
    }
}
