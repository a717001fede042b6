//! Plays one side of the calls layer against any implementation at a Unix socket, and says for each rule of
//! `docs/PROTOCOL.md` whether the other side did what it must. This crate's server and client, and the clients in
//! Python and Node, are tested with it. For another implementation:
//!
//! ```sh
//! # A server that answers each request with one message, at this path:
//! MSGPIPE_SERVER=/tmp/its.sock cargo test --test conformance_peer another -- --nocapture
//! # A client that makes one call at the path in MSGPIPE_SOCKET, and exits with 0 if it has a reply:
//! MSGPIPE_CLIENT='its-client "$MSGPIPE_SOCKET"' cargo test --test conformance_peer another -- --nocapture
//! ```
//!
//! What the rules ask of a side that nobody outside can see (F3, D14) or that depends on what its application
//! does (D12, L1) is not among the cases.
#![cfg(unix)]

mod conformance_peer {
    pub mod cases;
    pub mod wire;
}

use conformance_peer::cases::{Case, Must, of_client, of_server};
use conformance_peer::wire::{
    ABORT, CONNECTION_CREDIT, CREDIT, DATA, ERROR, Heard, Link, REQUEST, SETTINGS, Said, frame,
    preface, setting, unary,
};
use msgpipe::{Client, Endpoint, Server};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// How long a client may take to end its call, longer than a connection waits for the other side.
const PATIENCE: Duration = Duration::from_secs(30);

/// The call with which a tester asks whether the other side goes on.
const PROBE: u32 = 1 << 20;

/// The outcomes of all cases, as lines.
#[derive(Default)]
struct Report {
    count: usize,
    failed: Vec<String>,
}

impl Report {
    fn add(&mut self, rule: &str, what: &str, outcome: Result<(), String>) {
        self.count += 1;
        match outcome {
            Ok(()) => println!("ok      {rule:4} {what}"),
            Err(why) => {
                println!("FAILED  {rule:4} {what}: {why}");
                self.failed.push(format!("{rule} {what}: {why}"));
            }
        }
    }

    #[track_caller]
    fn end(self, least: usize) {
        println!("{} of {} cases failed", self.failed.len(), self.count);
        assert!(self.failed.is_empty(), "{:#?}", self.failed);
        assert!(self.count >= least, "only {} cases", self.count);
    }
}

/// A connection to a server, with this side's preface and settings sent.
fn connect(path: &Path, is_settled: bool) -> Result<(Link, Said), String> {
    let stream = UnixStream::connect(path).map_err(|error| error.to_string())?;
    let mut link = Link::new(stream);
    link.write(&preface());
    if is_settled {
        link.send(&[frame(SETTINGS, 0)]);
    }
    let said = link.hear_beginning()?;
    Ok((link, said))
}

/// Until the other side has closed. If it names a rule in its goodbye, as this crate does, then this one.
fn closes(link: &mut Link, rule: &str) -> Result<(), String> {
    loop {
        match link.next() {
            Heard::Frame { .. } => {}
            Heard::Goodbye { code: 1 | 3, text } => {
                let named = text.strip_prefix('[').and_then(|rest| rest.split(']').next());
                return match named {
                    Some(named) if named != rule => Err(format!("for another rule: {text}")),
                    _ => Ok(()),
                };
            }
            Heard::Closed => return Ok(()),
            other => return Err(format!("it should have closed: {other:?}")),
        }
    }
}

/// Until the other side sends such a frame.
fn answers(link: &mut Link, kind: u8, code: u16, id: u32) -> Result<(), String> {
    loop {
        match link.next() {
            Heard::Frame { kind: k, code: c, id: i, .. } if (k, c, i) == (kind, code, id) => {
                return Ok(());
            }
            Heard::Frame { kind: DATA | ERROR | ABORT, code, id: i, .. } if i == id => {
                return Err(format!("another end of the call, with code {code}"));
            }
            Heard::Frame { .. } => {}
            other => return Err(format!("{other:?}")),
        }
    }
}

/// Whether a server still answers.
fn goes_on(link: &mut Link) -> Result<(), String> {
    link.send(&[unary(PROBE)]);
    loop {
        match link.next() {
            Heard::Frame { kind: ERROR | ABORT, id: PROBE, .. } => return Ok(()),
            Heard::Frame { kind: DATA, id: PROBE, flags, .. } if flags & 2 != 0 => return Ok(()),
            Heard::Frame { .. } => {}
            other => return Err(format!("it should have gone on: {other:?}")),
        }
    }
}

fn try_server(path: &Path, case: &Case) -> Result<(), String> {
    let (mut link, _) = connect(path, case.is_settled)?;
    link.send(&case.frames);
    match &case.must {
        Must::Close => closes(&mut link, case.rule),
        Must::GoOn => goes_on(&mut link),
        Must::Answer(kind, code, id, then) => {
            answers(&mut link, *kind, *code, *id)?;
            link.send(then);
            goes_on(&mut link)
        }
    }
}

/// Calls with half of the connection's window in all are followed by a grant.
fn grants_again(path: &Path) -> Result<(), String> {
    let (mut link, said) = connect(path, true)?;
    let size = said.body.min(30_000);
    for at in 1..=(said.connection / 2).div_ceil(size + 64) {
        let id = 2 * at as u32;
        link.send(&[frame(REQUEST, id).flags(3).sized(size as usize)]);
        loop {
            match link.next() {
                Heard::Frame { kind: CONNECTION_CREDIT, limit, .. } => {
                    let least = said.connection + said.connection / 2;
                    return match limit >= least {
                        true => Ok(()),
                        false => Err(format!("a limit of {limit}, less than {least}")),
                    };
                }
                Heard::Frame { kind: kind @ (DATA | ERROR | ABORT), id: i, flags, .. }
                    if i == id && (kind != DATA || flags & 2 != 0) =>
                {
                    break;
                }
                Heard::Frame { .. } => {}
                other => return Err(format!("{other:?}")),
            }
        }
    }
    match link.next() {
        Heard::Frame { kind: CONNECTION_CREDIT, .. } => Ok(()),
        other => Err(format!("no grant after half of the window: {other:?}")),
    }
}

/// Notifications with half of the window of a lane are followed by a grant, also if nobody wants them.
fn grants_notifications(path: &Path) -> Result<(), String> {
    let (mut link, said) = connect(path, true)?;
    let size = said.body.min(30_000);
    for _ in 0..(said.window / 2).div_ceil(size + 64) {
        link.send(&[frame(DATA, 0).flags(1).sized(size as usize)]);
    }
    answers(&mut link, CREDIT, 0, 0)
}

fn test_server(path: &Path) -> Report {
    let mut report = Report::default();
    let said = connect(path, true).map(|(_, said)| said);
    let is_large = said.as_ref().is_ok_and(|said| said.frame >= 20_504);
    report.add("D3", "the limit of a frame", is_large.then_some(()).ok_or(format!("{said:?}")));
    let cases = said.map(|said| of_client(&said)).unwrap_or_default();
    for case in cases {
        report.add(case.rule, case.what, try_server(path, &case));
    }
    report.add("D6", "calls with half of the connection's window", grants_again(path));
    report.add("D11", "notifications with half of their window", grants_notifications(path));
    report
}

/// What a client is that makes one call at a path: whether it has a reply.
type MakesOneCall<'a> = &'a (dyn Fn(PathBuf) -> Receiver<bool> + 'a);

fn try_client(
    listener: &UnixListener,
    case: &Case,
    client: MakesOneCall<'_>,
) -> Result<(), String> {
    let path = listener.local_addr().unwrap().as_pathname().unwrap().to_owned();
    let calling = client(path);
    let (stream, _) = listener.accept().map_err(|error| error.to_string())?;
    let mut link = Link::new(stream);
    link.write(&preface());
    if case.is_settled {
        link.send(&[frame(SETTINGS, 0).body(&setting(1, &1024_u32.to_le_bytes()))]);
        hear_request(&mut link)?;
    }
    link.send(&case.frames);
    let outcome = match &case.must {
        // It may make its call before it has read the settings, or after that.
        Must::Close if case.is_settled => closes(&mut link, case.rule),
        Must::Close => link.hear_beginning().and_then(|_| closes(&mut link, case.rule)),
        _ if case.is_settled => Ok(()),
        _ => hear_request(&mut link),
    };
    link.send(&[frame(DATA, 2).flags(3).body(b"pong")]);
    drop(link);
    let has_reply = calling.recv_timeout(PATIENCE).map_err(|_| "the call does not end")?;
    outcome?;
    match (has_reply, &case.must) {
        (true, Must::Close) => Err("it has a reply".to_owned()),
        (false, Must::GoOn) => Err("it has no reply".to_owned()),
        _ => Ok(()),
    }
}

fn hear_request(link: &mut Link) -> Result<(), String> {
    link.hear_beginning()?;
    loop {
        match link.next() {
            Heard::Frame { kind: REQUEST, id: 2, .. } => return Ok(()),
            Heard::Frame { .. } => {}
            other => return Err(format!("no request: {other:?}")),
        }
    }
}

fn test_client(name: &str, client: MakesOneCall<'_>) -> Report {
    let path = std::env::temp_dir().join(format!("msgpipe.peer.{}.{name}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let mut report = Report::default();
    for case in of_server() {
        report.add(case.rule, case.what, try_client(&listener, &case, client));
    }
    std::fs::remove_file(path).unwrap();
    report
}

/// What comes of a call that is made in a thread of its own.
fn in_thread(makes_call: impl FnOnce() -> bool + Send + 'static) -> Receiver<bool> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(makes_call()));
    receiver
}

/// A program that makes one call at the path in its environment.
fn program(command: &str, path: PathBuf) -> Receiver<bool> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).env("MSGPIPE_SOCKET", path);
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    in_thread(move || shell.status().expect("a shell").success())
}

#[test]
fn the_server_of_this_crate() {
    let server = Server::bind(&*format!("msgpipe.peer.{}", std::process::id())).unwrap();
    let (path, stopper) = (PathBuf::from(server.endpoint()), server.stopper());
    let serving = thread::spawn(move || server.serve(|request| request.body()));
    let report = test_server(&path);
    stopper.stop();
    serving.join().unwrap().unwrap();
    report.end(81);
}

#[test]
fn the_client_of_this_crate() {
    let call = |path: PathBuf| {
        in_thread(move || {
            let client = Client::connect(Endpoint::path(path).unwrap()).unwrap();
            client.call("ping").is_ok()
        })
    };
    test_client("own", &call).end(75);
}

#[test]
#[cfg(target_os = "linux")]
fn the_client_in_python() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/python/client.py");
    let command = format!("python3 -S -E '{script}' \"$MSGPIPE_SOCKET\" ping");
    test_client("python", &|path| program(&command, path)).end(75);
}

#[test]
#[cfg(target_os = "linux")]
fn the_client_in_node() {
    if Command::new("node").arg("--version").output().is_err() {
        println!("skipped: node is not installed");
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/node/test/call.mjs");
    let command = format!("node '{script}' \"$MSGPIPE_SOCKET\"");
    test_client("node", &|path| program(&command, path)).end(75);
}

/// Whatever is named by the environment; nothing by default.
#[test]
fn another_implementation() {
    if let Some(path) = std::env::var_os("MSGPIPE_SERVER") {
        test_server(Path::new(&path)).end(1);
    }
    if let Ok(command) = std::env::var("MSGPIPE_CLIENT") {
        test_client("another", &|path| program(&command, path)).end(1);
    }
}
