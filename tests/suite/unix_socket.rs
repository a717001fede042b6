//! Tests of sockets only: their files, who may open them, and the files after a crash.

use crate::common::raw::path_of;
use crate::common::{Backend, Local, PATIENCE, Scratch, connected, leave_socket, set_mode};
use msgpipe::{Endpoint, Error, Limits, LocalServer, MessageClient, MessageServer, NameError};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

fn listen(path: &Path) -> Result<LocalServer, Error> {
    LocalServer::bind(Endpoint::path(path)?)
}

fn connect(path: &Path) -> Result<MessageClient, Error> {
    MessageClient::connect(Endpoint::path(path)?)
}

/// Checks that a message is echoed.
fn works(server: &mut LocalServer, path: &Path) {
    let client = connect(path).unwrap();
    let id = connected(server);
    server.send(id, "hello".into()).unwrap();
    assert!(server.poll(Some(Duration::ZERO)).unwrap().is_none());
    assert_eq!(client.receive(Some(PATIENCE)).unwrap(), "hello");
}

#[test]
fn a_named_socket_is_open_to_its_user_only() {
    let backend = Local::new();
    let _server = backend.listen(&Limits::default()).unwrap();
    let socket = path_of(backend.name());
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(mode(socket.parent().unwrap()), 0o700);
}

#[test]
fn the_files_of_a_server_are_removed_at_its_end() {
    let scratch = Scratch::new();
    drop(listen(&scratch.path("socket")).unwrap());
    assert_eq!(fs::read_dir(scratch.directory()).unwrap().count(), 0);
}

#[test]
fn a_stale_socket_is_taken_over() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    // The files of a killed server: a socket at which nobody listens, and a lock file.
    leave_socket(&path);
    fs::write(scratch.path(".socket.msgpipe-lock"), "").unwrap();
    assert!(fs::symlink_metadata(&path).is_ok());
    works(&mut listen(&path).unwrap(), &path);
}

#[test]
fn a_live_server_is_never_displaced() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let mut server = listen(&path).unwrap();
    for _ in 0..3 {
        let Err(Error::AlreadyServed { endpoint }) = listen(&path) else { panic!("displaced") };
        assert_eq!(&*endpoint, path.to_str().unwrap());
    }
    works(&mut server, &path);

    // A server without our lock is not displaced either.
    let foreign = scratch.path("foreign");
    let _listener = UnixListener::bind(&foreign).unwrap();
    let Err(Error::AlreadyServed { .. }) = listen(&foreign) else { panic!("displaced") };
    assert!(std::os::unix::net::UnixStream::connect(&foreign).is_ok());
}

/// One that is slow to take its clients in is still there.
#[cfg(target_os = "linux")]
#[test]
fn a_server_whose_backlog_is_full_is_not_displaced() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let listener = full_backlog(&path);
    let Err(Error::AlreadyServed { .. }) = listen(&path) else { panic!("displaced") };
    assert!(listener.accept().is_ok(), "its clients are still there");
    // The next client connects to the same server.
    assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
}

#[test]
fn a_file_that_is_not_a_socket_is_left_alone() {
    let scratch = Scratch::new();
    let file = scratch.path("file");
    fs::write(&file, "precious").unwrap();
    let directory = scratch.path("directory");
    fs::create_dir(&directory).unwrap();
    let link = scratch.path("link");
    symlink(scratch.path("nowhere"), &link).unwrap();
    for path in [&file, &directory, &link] {
        let Err(Error::Insecure { problem, .. }) = listen(path) else {
            panic!("{path:?} was used")
        };
        assert!(problem.contains("not a socket"), "{problem}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert!(directory.is_dir());
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn a_directory_that_others_can_write_to_is_refused() {
    let scratch = Scratch::new();
    let open = scratch.path("open");
    fs::create_dir(&open).unwrap();
    for (mode, fits) in
        [(0o700, true), (0o755, true), (0o770, false), (0o777, false), (0o1777, false)]
    {
        set_mode(&open, mode);
        match listen(&open.join("socket")) {
            Ok(_) => assert!(fits, "mode {mode:o}"),
            Err(Error::Insecure { .. }) => assert!(!fits, "mode {mode:o}"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Who can replace a directory can replace what lies in it.
#[test]
fn a_path_with_a_component_that_others_can_replace_is_refused() {
    let scratch = Scratch::new();
    let (open, safe) = (scratch.path("open"), scratch.path("safe"));
    for directory in [&open, &safe, &open.join("inside")] {
        fs::create_dir(directory).unwrap();
        set_mode(directory, 0o755);
    }
    symlink("../safe", open.join("link")).unwrap();
    symlink("open/inside", scratch.path("into")).unwrap();
    symlink("loop", scratch.path("loop")).unwrap();
    let ways = ["open/inside", "open/link", "into"];
    for (mode, fits) in [(0o755, true), (0o1777, true), (0o777, false), (0o775, false)] {
        set_mode(&open, mode);
        for way in ways {
            match listen(&scratch.path(way).join("socket")) {
                Ok(_) => assert!(fits, "{way}, mode {mode:o}"),
                Err(Error::Insecure { problem, .. }) => {
                    assert!(!fits && problem.contains("open"), "{way}, mode {mode:o}: {problem}");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(listen(&scratch.path("loop").join("socket")).is_err());
}

#[test]
fn a_path_too_long_is_refused_with_the_limit() {
    let scratch = Scratch::new();
    let room = if cfg!(any(target_os = "linux", target_os = "android")) { 107 } else { 103 };
    let used = scratch.path("").as_os_str().len();
    for len in [room - 1, room, room + 1] {
        let path = scratch.path(&"x".repeat(len - used));
        match listen(&path) {
            Ok(mut server) => {
                assert!(len <= room);
                works(&mut server, &path);
            }
            Err(Error::Name(NameError::TooLong { len: found, limit, .. })) => {
                assert_eq!((found, limit), (room + 1, room));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// The error of a client for the file at the path.
#[test]
fn the_error_says_why_there_is_no_server() {
    let scratch = Scratch::new();
    let told = |name: &str| connect(&scratch.path(name)).map(drop).unwrap_err();

    let missing = told("missing");
    assert!(matches!(missing, Error::NoServer { .. }), "{missing}");
    assert!(missing.to_string().contains("start it, or check the name"), "{missing}");

    // Not to be started: a server is refused there.
    fs::write(scratch.path("file"), "precious").unwrap();
    fs::create_dir(scratch.path("directory")).unwrap();
    symlink("file", scratch.path("link")).unwrap();
    for name in ["file", "directory", "link"] {
        let error = told(name);
        assert!(matches!(error, Error::Insecure { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains("not a socket: check the path"), "{error}");
        assert!(!error.to_string().contains("start it"), "{error}");
    }

    leave_socket(&scratch.path("stale"));
    let stale = told("stale");
    assert!(matches!(stale, Error::NoServer { .. }), "{stale:?}");
    assert!(stale.to_string().contains("ended without removing it"), "{stale}");
    assert!(stale.to_string().contains("the next one takes it over"), "{stale}");
    drop(listen(&scratch.path("stale")).unwrap());
}

/// A server of one's own process is not another process's.
#[test]
fn the_error_for_a_served_name_does_not_claim_another_process() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let _server = listen(&path).unwrap();
    let error = listen(&path).map(drop).unwrap_err().to_string();
    assert!(error.contains("is served already") && !error.contains("another process"), "{error}");
}

/// The socket's type shows that a client uses the other carrier (EPROTOTYPE).
#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn the_error_for_the_other_carrier_says_so() {
    use msgpipe::framing::OsMessage;
    use msgpipe::{ClientOptions, ServerOptions};
    let scratch = Scratch::new();
    let (whole, bytes) = (scratch.path("whole"), scratch.path("bytes"));
    let framing = || OsMessage::new(1000);
    let options = ServerOptions::new().framing(framing());
    let _whole = options.bind_messages(Endpoint::path(&whole).unwrap()).unwrap();
    let _bytes = listen(&bytes).unwrap();
    let options = ClientOptions::new().framing(framing());
    let errors = [
        connect(&whole).map(drop).unwrap_err(),
        options.connect_messages(Endpoint::path(&bytes).unwrap()).map(drop).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::System { .. }), "{error:?}");
        assert!(error.to_string().contains("choose the server's framing"), "{error}");
    }
    // Both are there, for a starter too.
    for path in [&whole, &bytes] {
        let Err(Error::AlreadyServed { .. }) = listen(path) else { panic!("displaced") };
    }
}

/// Linux calls it a reset.
#[test]
fn a_close_with_an_unread_reply_is_a_normal_end() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let mut server = listen(&path).unwrap();
    let client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let id = connected(&mut server);
    server.send(id, "unread".into()).unwrap();
    assert!(server.poll(Some(Duration::ZERO)).unwrap().is_none());
    // It has arrived, so what it closes is not empty.
    assert!(rustix::net::recv(&client, &mut [0; 1], rustix::net::RecvFlags::PEEK).is_ok());
    drop(client);
    let (_, reason) = crate::common::closed(&mut server);
    assert!(matches!(reason, msgpipe::CloseReason::PeerClosed), "{reason}");
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn an_abstract_name_has_no_file_and_one_server() {
    use crate::common::unique_name;
    use msgpipe::{Client, Server};
    use std::time::Instant;
    let endpoint = Endpoint::abstract_name(&unique_name()).unwrap();
    let server = Server::bind(&endpoint).unwrap();
    let Err(Error::AlreadyServed { .. }) = Server::bind(&endpoint) else { panic!("two servers") };
    let stopper = server.stopper();
    let serving = std::thread::spawn(move || server.serve(|request| request.body()));
    assert_eq!(Client::connect(&endpoint).unwrap().call("hello").unwrap(), "hello");
    stopper.stop();
    serving.join().unwrap().unwrap();
    // Another test may just be starting a process, which has our sockets until it is another program.
    let until = Instant::now() + PATIENCE;
    while !matches!(Client::connect(&endpoint), Err(Error::NoServer { .. })) {
        assert!(Instant::now() < until, "still served");
        std::thread::yield_now();
    }
}

/// Linux: connecting to a full backlog waits for room in it, up to the deadline.
#[cfg(target_os = "linux")]
#[test]
fn a_connect_waits_for_a_full_backlog_up_to_the_deadline() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let listener = full_backlog(&path);
    let mut limits = Limits::default();
    limits.connect = Duration::from_millis(50);
    let endpoint = Endpoint::path(&path).unwrap();
    match MessageClient::connect_with(&endpoint, limits.clone()) {
        Err(error @ Error::Busy { .. }) => {
            let text = error.to_string();
            assert!(text.contains(&format!("{:?}", limits.connect)), "{text}");
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it found room"),
    }
    // Once there is room, the waiting client is accepted.
    limits.connect = PATIENCE;
    let connecting =
        std::thread::spawn(move || MessageClient::connect_with(&endpoint, limits).map(drop));
    listener.set_nonblocking(true).unwrap();
    while !connecting.is_finished() {
        // Waiting clients are accepted one after the other, with pauses in between.
        drop(listener.accept());
        std::thread::yield_now();
    }
    connecting.join().unwrap().unwrap();
}

/// A listener that has as many clients waiting as it can have.
#[cfg(target_os = "linux")]
fn full_backlog(path: &Path) -> UnixListener {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
    let address = SocketAddrUnix::new(path).unwrap();
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &address).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let listener = UnixListener::from(socket);
    let mut waiting = Vec::new();
    loop {
        let flags = rustix::net::SocketFlags::NONBLOCK;
        let client =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        if rustix::net::connect(&client, &address).is_err() {
            return listener;
        }
        waiting.push(client);
    }
}
