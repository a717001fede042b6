//! The files of a socket: what a server makes, and that it never touches anything else.

use crate::common::{Scratch, leave_socket, set_mode};
use msgpipe::{Endpoint, Error, LocalServer, MessageClient};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

fn listen(path: &Path) -> Result<LocalServer, Error> {
    LocalServer::bind(Endpoint::path(path)?)
}

fn names_in(scratch: &Scratch) -> Vec<String> {
    let entries = fs::read_dir(scratch.directory()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[track_caller]
fn problem(path: &Path) -> String {
    match listen(path) {
        Err(Error::Insecure { problem, .. }) => problem,
        outcome => panic!("{outcome:?}"),
    }
}

/// `Cargo` is as good a name for a socket as any.
#[test]
fn a_users_file_is_never_taken_for_a_lock() {
    let scratch = Scratch::new();
    let path = scratch.path("Cargo");
    let files = ["Cargo.lock", "Cargo.sock", ".Cargo", ".Cargo.lock", "Cargo~"];
    for name in files {
        fs::write(scratch.path(name), name).unwrap();
        set_mode(&scratch.path(name), 0o644);
    }
    let all_are_there = || {
        for name in files {
            assert_eq!(fs::read_to_string(scratch.path(name)).unwrap(), name);
            assert_eq!(fs::metadata(scratch.path(name)).unwrap().mode() & 0o777, 0o644);
        }
    };
    drop(listen(&path).unwrap());
    all_are_there();
    // Even if nothing can be bound there.
    fs::write(&path, "precious").unwrap();
    assert!(problem(&path).contains("not a socket"));
    all_are_there();
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    assert_eq!(names_in(&scratch).len(), files.len() + 1);
}

/// Only a file as a server of ours leaves it is a lock: plain, empty, with one name.
#[test]
fn a_foreign_lock_file_is_named_and_left_unchanged() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let lock = scratch.path(".socket.msgpipe-lock");
    let elsewhere = scratch.path("elsewhere");
    fs::write(&elsewhere, "").unwrap();

    fs::write(&lock, "precious").unwrap();
    set_mode(&lock, 0o644);
    assert!(
        problem(&path)
            .contains(".socket.msgpipe-lock has the name of its lock file, and is not empty")
    );
    assert_eq!(fs::read_to_string(&lock).unwrap(), "precious");
    assert_eq!(fs::metadata(&lock).unwrap().mode() & 0o777, 0o644);
    fs::remove_file(&lock).unwrap();

    fs::hard_link(&elsewhere, &lock).unwrap();
    assert!(problem(&path).contains("second name"));
    fs::remove_file(&lock).unwrap();

    symlink(&elsewhere, &lock).unwrap();
    assert!(problem(&path).contains("symbolic link"));
    fs::remove_file(&lock).unwrap();

    fs::create_dir(&lock).unwrap();
    assert!(problem(&path).contains("not a regular file"));
    fs::remove_dir(&lock).unwrap();

    // A reader of a FIFO would wait for its writer.
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, FileType, Mode};
        rustix::fs::mknodat(CWD, &lock, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(problem(&path).contains("not a regular file"));
        fs::remove_file(&lock).unwrap();
    }
    assert_eq!(names_in(&scratch), ["elsewhere"]);
    assert!(listen(&path).is_ok());
}

/// As after a logout, or a cleaner of temporary files.
#[test]
fn an_old_server_removes_nothing_of_a_new_one_at_the_same_path() {
    let scratch = Scratch::new();
    let directory = scratch.path("directory");
    let path = directory.join("socket");
    let make = || {
        fs::create_dir(&directory).unwrap();
        set_mode(&directory, 0o700);
    };
    make();
    let old = listen(&path).unwrap();
    fs::remove_dir_all(&directory).unwrap();
    make();
    let new = listen(&path).unwrap();
    drop(old);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 2, "a file of the new one is gone");
    assert!(MessageClient::connect(Endpoint::path(&path).unwrap()).is_ok());
    let Err(Error::AlreadyServed { .. }) = listen(&path) else { panic!("its lock is gone") };
    drop(new);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
}

#[test]
fn a_new_file_at_the_path_is_not_removed() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let lock = scratch.path(".socket.msgpipe-lock");
    let replace = |path: &Path| {
        fs::rename(path, scratch.path("away")).unwrap();
        fs::write(path, "precious").unwrap();
    };
    let server = listen(&path).unwrap();
    replace(&path);
    replace(&lock);
    drop(server);
    for path in [&path, &lock] {
        assert_eq!(fs::read_to_string(path).unwrap(), "precious");
        fs::remove_file(path).unwrap();
    }
    // Another socket is another file too.
    let server = listen(&path).unwrap();
    fs::remove_file(&path).unwrap();
    leave_socket(&path);
    drop(server);
    assert!(fs::symlink_metadata(&path).is_ok());
}

/// The server goes on with its clients. The errors say that no client can find it, and how to repair that.
#[test]
fn a_removed_socket_is_reported_to_servers_and_clients() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let lock = scratch.path(".socket.msgpipe-lock");
    let old = listen(&path).unwrap();
    fs::remove_file(&path).unwrap();

    let told = problem(&path);
    assert!(told.contains("socket was removed") && told.contains("stop that server"), "{told}");
    assert!(told.contains(lock.to_str().unwrap()), "{told}");
    let connected = MessageClient::connect(Endpoint::path(&path).unwrap());
    let Err(Error::NoServer { cause, .. }) = connected else { panic!("{connected:?}") };
    assert!(cause.to_string().contains("socket was removed"), "{cause}");

    // The first way: another server takes the name, and the old one does not affect it.
    fs::remove_file(&lock).unwrap();
    let new = listen(&path).unwrap();
    drop(old);
    assert!(MessageClient::connect(Endpoint::path(&path).unwrap()).is_ok());
    let Err(Error::AlreadyServed { .. }) = listen(&path) else { panic!("displaced") };
    drop(new);
    // The second way: after its end the name is free.
    let old = listen(&path).unwrap();
    fs::remove_file(&path).unwrap();
    drop(old);
    assert!(listen(&path).is_ok());
    assert_eq!(names_in(&scratch), [""; 0]);
}

/// A program that a server starts would hold its lock, and its socket, for as long as it runs.
#[cfg(target_os = "linux")]
#[test]
fn child_processes_inherit_nothing_of_a_server() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let _server = listen(&path).unwrap();
    // The socket, by the number that the system lists for its path.
    let listed = fs::read_to_string("/proc/net/unix").unwrap();
    let line = listed.lines().find(|line| line.ends_with(path.to_str().unwrap())).unwrap();
    let number = line.split_whitespace().nth(6).unwrap();
    let socket = format!("socket:[{number}]");
    let lock = scratch.path(".socket.msgpipe-lock");
    let mut found = 0;
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let Ok(link) = entry.as_ref().map(|entry| entry.path()) else { continue };
        let Ok(target) = fs::read_link(&link) else { continue };
        if target != lock && target != Path::new(&socket) {
            continue;
        }
        let info = Path::new("/proc/self/fdinfo").join(link.file_name().unwrap());
        let info = fs::read_to_string(info).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
        assert_ne!(flags & 0o2_000_000, 0, "{target:?} is open in each program that is started");
        found += 1;
    }
    assert_eq!(found, 2, "the socket and its lock");
}
