//! Listening sockets that another program made and handed over: a service manager's.

use crate::common::roles::{NAME, ROLE};
use crate::common::serving::limits;
use crate::common::{PATIENCE, Scratch};
use msgpipe::framing::{Lines, OsMessage};
use msgpipe::{Client, Endpoint, Error, MessageClient, MessageServer, ServerOptions};
use std::fs::File;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

fn connect(path: &Path) -> Client {
    let endpoint = Endpoint::path(path).unwrap();
    Client::connect_with(&endpoint, limits()).unwrap()
}

/// Serves on a clone of a listener, and stops after `calls` of them.
fn serve(listener: &UnixListener, calls: usize) -> thread::JoinHandle<()> {
    let options = ServerOptions::new().limits(limits());
    let server = options.listen_on(listener.try_clone().unwrap()).unwrap();
    let stopper = server.stopper();
    let mut left = calls;
    thread::spawn(move || {
        let served = server.serve(move |request| {
            left -= 1;
            if left == 0 {
                stopper.stop();
            }
            request.into_body()
        });
        served.unwrap();
    })
}

#[test]
fn a_listener_that_is_handed_over_outlives_its_servers() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let listener = UnixListener::bind(&path).unwrap();
    for text in ["first", "second"] {
        // It connects before there is a server: nobody is refused meanwhile.
        let waiting = thread::spawn({
            let path = path.clone();
            move || connect(&path).call("waits").unwrap()
        });
        let serving = serve(&listener, 2);
        assert_eq!(waiting.join().unwrap(), "waits");
        let client = connect(&path);
        assert_eq!(client.call(text).unwrap(), text);
        serving.join().unwrap();
        assert!(path.exists(), "it belongs to who made it");
    }
    assert_eq!(std::fs::read_dir(scratch.directory()).unwrap().count(), 1, "no lock is left");
}

#[test]
fn messages_and_whole_messages_are_served_on_it() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let options = ServerOptions::new().framing(Lines::new(100));
    let mut server = options.listen_on_messages(listener).unwrap();
    assert_eq!(server.endpoint(), path.to_str().unwrap());
    let mut client = UnixStream::connect(&path).unwrap();
    std::io::Write::write_all(&mut client, b"hello\n").unwrap();
    assert!(matches!(server.poll(Some(PATIENCE)).unwrap(), Some(msgpipe::Event::Connected(_))));
    match server.poll(Some(PATIENCE)).unwrap() {
        Some(msgpipe::Event::Message(_, text)) => assert_eq!(text, "hello"),
        other => panic!("{other:?}"),
    }
    // Calls need a framing that carries any bytes.
    let other = UnixListener::bind(scratch.path("other")).unwrap();
    let refused = ServerOptions::new().framing(Lines::new(100)).listen_on(other).unwrap_err();
    assert!(refused.to_string().contains("other: "), "{refused}");
}

#[test]
fn what_cannot_be_listened_on_is_refused_with_the_reason() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let (one, _other) = UnixStream::pair().unwrap();
    let unbound = rustix::net::socket(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    let descriptors: [(OwnedFd, &str); 6] = [
        (File::create(scratch.path("file")).unwrap().into(), "it is no socket"),
        (TcpListener::bind("127.0.0.1:0").unwrap().into(), "it is no Unix domain socket"),
        (UdpSocket::bind("127.0.0.1:0").unwrap().into(), "it is no Unix domain socket"),
        (UnixDatagram::bind(&path).unwrap().into(), "it is no stream socket"),
        (one.into(), "it does not listen"),
        (unbound, "it does not listen"),
    ];
    for (descriptor, why) in descriptors {
        if cfg!(target_vendor = "apple") && why == "it does not listen" {
            continue; // that system does not say it
        }
        match ServerOptions::new().listen_on(descriptor).unwrap_err() {
            Error::Misuse { problem, .. } => assert!(problem.contains(why), "{problem}"),
            other => panic!("{other}"),
        }
    }
    let listener = UnixListener::bind(scratch.path("stream")).unwrap();
    let framed = ServerOptions::new().framing(OsMessage::new(100));
    match framed.listen_on_messages(listener).unwrap_err() {
        Error::Misuse { problem, .. } => assert!(problem.contains("SOCK_SEQPACKET"), "{problem}"),
        // Systems other than Linux have none.
        other => {
            let has_none = !cfg!(target_os = "linux");
            assert!(has_none, "{other}");
        }
    }
}

/// The server that a service manager starts.
pub fn play() {
    let listener = listenfd::ListenFd::from_env().take_unix_listener(0).unwrap().unwrap();
    let server = ServerOptions::new().limits(limits()).listen_on(listener).unwrap();
    let stopper = server.stopper();
    sd_notify::notify(false, &[sd_notify::NotifyState::Ready]).unwrap();
    let served = server.serve(move |request| {
        if request.body() == "stop" {
            stopper.stop();
        }
        request.into_body()
    });
    served.unwrap();
}

/// This test program in that role.
fn role(command: &mut Command) -> Child {
    command
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "processes::a_process_plays_its_role", "--nocapture"])
        .stdout(Stdio::null())
        .env(ROLE, "server that a service manager starts")
        .env(NAME, "")
        .spawn()
        .unwrap()
}

/// A small service manager: it makes the socket, hands it over as descriptor 3, and is told when the server is ready.
#[test]
fn a_service_manager_starts_a_server_and_is_told_that_it_is_ready() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let notified = scratch.path("notify");
    let told = UnixDatagram::bind(&notified).unwrap();
    told.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..2 {
        let hand_over = r#"exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@""#;
        let mut server = role(
            Command::new("sh")
                .args(["-c", hand_over])
                .stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())))
                .env("NOTIFY_SOCKET", &notified),
        );
        let mut text = [0; 100];
        let length = told.recv(&mut text).unwrap();
        assert_eq!(std::str::from_utf8(&text[..length]).unwrap().trim(), "READY=1");
        assert_eq!(connect(&path).call("hello").unwrap(), "hello");
        connect(&path).call("stop").unwrap();
        assert!(server.wait().unwrap().success());
    }
}

/// systemd's own tool for it, where there is one.
#[test]
fn systemd_starts_a_server_with_its_first_client() {
    const TOOL: &str = "systemd-socket-activate";
    let is_there = Command::new(TOOL).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !is_there {
        return;
    }
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let mut server = role(
        Command::new(TOOL)
            .arg(format!("--listen={}", path.display()))
            .args(["-E", ROLE, "-E", NAME])
            .stderr(Stdio::null()),
    );
    let endpoint = Endpoint::path(&path).unwrap();
    let client = loop {
        // The tool may not listen yet.
        match Client::connect_with(&endpoint, limits()) {
            Err(Error::NoServer { .. }) => thread::yield_now(),
            connected => break connected.unwrap(),
        }
    };
    assert_eq!(client.call("hello").unwrap(), "hello");
    client.call("stop").unwrap();
    assert!(server.wait().unwrap().success());
    // It has made the socket, and so it is another matter than a server's own.
    assert!(MessageClient::connect(&endpoint).is_err());
}
