//! How the command ends: at closed outputs, signals, deadlines, and when a server is killed.
#![cfg(target_os = "linux")]

mod common;

use common::{command, name, output, run, scratch, succeeds};
use msgpipe::{Server, Workers};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A child that is killed at the end of the test.
struct Started(Child);

impl Started {
    fn new(command: &mut Command) -> Started {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Started(command.spawn().unwrap())
    }

    /// A server, once it listens.
    fn server(arguments: &[&str]) -> (Started, BufReader<ChildStdout>) {
        let mut server = Started::new(&mut command(arguments));
        let mut output = BufReader::new(server.0.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert!(line.starts_with("listening at "), "{line}");
        (server, output)
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.0.id() as i32).unwrap(), signal).unwrap();
    }

    /// Its status and its errors, once it has ended.
    fn ended(&mut self) -> (Option<i32>, String) {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(started.elapsed() < PATIENCE, "it goes on");
            thread::yield_now();
        };
        let mut errors = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (status.code(), errors)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory for names, for this test alone.
fn runtime(what: &str) -> PathBuf {
    let directory = scratch(what);
    set_mode(&directory, 0o700);
    directory
}

fn set_mode(directory: &Path, mode: u32) {
    fs::set_permissions(directory, fs::Permissions::from_mode(mode)).unwrap();
}

fn sockets(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory.join("msgpipe")) else { return Vec::new() };
    let names = entries.map(|it| it.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|it| it.ends_with(".sock")).collect()
}

#[test]
fn an_upload_that_the_server_does_not_take_has_its_time() {
    let name = name("untaken");
    let server = Server::bind(name.as_str()).unwrap().accept_streams();
    let stopper = server.stopper();
    let (keep, _kept) = std::sync::mpsc::channel();
    let serving =
        thread::spawn(move || server.serve_deferred(move |it, to| drop(keep.send((it, to)))));
    // More than a server takes ahead of its handler.
    let much = vec![b'x'; 16 << 20];
    let (status, _, errors) = run(&["call", &name, "-u", "-", "-t", "500ms"], &much);
    assert_eq!(status, 4, "{errors}");
    stopper.stop();
    serving.join().unwrap().unwrap();
}

#[test]
fn an_upload_waits_for_its_input_longer_than_for_the_server() {
    let name = name("slowly");
    let server = Server::bind(name.as_str()).unwrap().accept_streams();
    let stopper = server.stopper();
    let serving = thread::spawn(move || {
        server.serve_workers(Workers::new(), |request| {
            request.into_parts().map_while(Result::ok).map(|it| it.len()).sum::<usize>().to_string()
        })
    });
    let script = r#"(printf 12345; sleep 0.3; printf 6789) | "$0" call "$1" -u - -t 200ms"#;
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_msgpipe"), &name]);
    let (status, said, errors) = output(&mut shell);
    assert_eq!((status, said.as_str()), (0, "9"), "{errors}");
    stopper.stop();
    serving.join().unwrap().unwrap();
}

#[test]
fn a_server_whose_output_is_closed_stops_and_says_so() {
    for arguments in [&["--echo"][..], &["--echo", "-F", "lines"], &["--exec", "cat"]] {
        let name = name("unread");
        let (mut server, output) = Started::server(&[&["serve", &name], arguments].concat());
        drop(output);
        let (status, errors) = server.ended();
        assert_eq!(status, Some(0), "{arguments:?}: {errors}");
        assert!(errors.contains("the output was closed"), "{arguments:?}: {errors}");
        assert!(!errors.contains("panicked"), "{errors}");
        // Its socket is gone.
        assert_eq!(run(&["call", &name], b"").0, 3);
    }
}

#[test]
fn a_server_that_can_say_nothing_from_the_start_ends_too() {
    let script = r#"exec "$0" serve "$1" --echo | true"#;
    for _ in 0..10 {
        let mut shell = Command::new("sh");
        let name = name("true");
        shell.args(["-c", script, env!("CARGO_BIN_EXE_msgpipe"), &name]);
        let (status, _, errors) = output(&mut shell);
        assert!(status == 0 && errors.contains("the output was closed"), "{errors}");
    }
}

#[test]
fn who_looks_on_ends_when_the_output_is_closed() {
    let name = name("watched");
    let (_server, _output) = Started::server(&["serve", &name, "--echo"]);
    for arguments in [&["listen", &name][..], &["tap", &name], &["tap", &name, "--json"]] {
        let mut looking = Started::new(&mut command(arguments));
        // It has nothing to print, or not much.
        drop(looking.0.stdout.take());
        assert_eq!(looking.ended(), (Some(0), String::new()), "{arguments:?}");
    }
}

/// All others print at once, and then end.
#[test]
fn a_closed_output_is_no_error_and_a_full_one_is() {
    let name = name("full");
    let (_server, _output) = Started::server(&["serve", &name, "--echo"]);
    let all = [
        &["list"][..],
        &["ping", &name],
        &["call", &name, "hello"],
        &["inspect", &name],
        &["bench", "--time", "1ms"],
        &["doctor"],
        &["man"],
        &["completions", "bash"],
    ];
    for arguments in all {
        let (read, closed) = rustix::pipe::pipe().unwrap();
        drop(read);
        let mut it = command(arguments);
        let ended = it.stdout(closed).stderr(Stdio::piped()).output().unwrap();
        let errors = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!((ended.status.code(), errors.as_str()), (Some(0), ""), "{arguments:?}");
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ended = command(arguments).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let errors = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(5), "{arguments:?}: {errors}");
        assert!(errors.contains("writing to standard output"), "{arguments:?}: {errors}");
    }
}

#[test]
fn a_server_that_is_killed_is_no_success_for_who_looks_on() {
    for (signal, expected) in [(Signal::KILL, 5), (Signal::TERM, 0)] {
        let name = name("killed");
        let (server, _output) = Started::server(&["serve", &name, "--echo"]);
        let mut looking: Vec<(&str, Started)> = ["listen", "tap"]
            .into_iter()
            .map(|what| (what, Started::new(&mut command(&[what, &name]))))
            .collect();
        // Once the server has both among its clients.
        wait_for_clients(&name, 2);
        server.send(signal);
        for (what, looking) in &mut looking {
            let (status, errors) = looking.ended();
            assert_eq!(status, Some(expected), "{what}, {signal:?}: {errors}");
            assert_eq!(errors.contains("without a goodbye"), expected == 5, "{what}: {errors}");
        }
    }
}

/// Waits until so many clients are connected, beside the one that asks.
fn wait_for_clients(name: &str, number: usize) {
    let started = Instant::now();
    loop {
        let info = succeeds(&["inspect", name]);
        if info.lines().filter(|line| line.starts_with("client.")).count() > number {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{info}");
    }
}

#[test]
fn a_bench_that_is_interrupted_leaves_no_socket() {
    let directory = runtime("bench");
    for signal in [Signal::INT, Signal::TERM] {
        let mut bench = command(&["bench", "--time", "60s"]);
        let mut bench = Started::new(bench.env("XDG_RUNTIME_DIR", &directory));
        let mut line = String::new();
        BufReader::new(bench.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(sockets(&directory).len(), 1, "{line}");
        bench.send(signal);
        assert_eq!(bench.ended(), (Some(130), String::new()));
        assert_eq!(sockets(&directory), [""; 0]);
    }
    fs::remove_dir_all(directory).unwrap();
}

/// The signal comes as soon as the socket is there.
#[test]
fn who_is_interrupted_while_it_begins_to_listen_leaves_no_socket() {
    let directory = runtime("begins");
    for arguments in [&["serve", "begins", "--echo"][..], &["bench", "--time", "60s"], &["doctor"]]
    {
        for _ in 0..20 {
            let mut begins = command(arguments);
            let mut begins = Started::new(begins.env("XDG_RUNTIME_DIR", &directory));
            let mut has_ended = || begins.0.try_wait().unwrap().is_some();
            while sockets(&directory).is_empty() && !has_ended() {}
            // The doctor's socket is there for some milliseconds only: it may have come and gone.
            if !has_ended() {
                begins.send(Signal::INT);
            }
            let (status, errors) = begins.ended();
            assert!(status.is_some(), "{arguments:?}: it was killed. {errors}");
            assert_eq!(sockets(&directory), [""; 0], "{arguments:?}");
        }
    }
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_doctor_finds_directories_that_are_open_to_others() {
    // Short: names of any length fit, so that nothing else is wrong.
    let directory = std::env::temp_dir().join(format!("m{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    set_mode(&directory, 0o700);
    let below = directory.join("msgpipe");
    fs::create_dir(&below).unwrap();
    set_mode(&below, 0o700);
    let doctor = || output(command(&["doctor"]).env("XDG_RUNTIME_DIR", &directory));
    let (status, said, errors) = doctor();
    assert_eq!(status, 0, "{said}{errors}");
    for (open, mode, shut) in [
        (&directory, 0o777, 0o700),
        (&directory, 0o1777, 0o700),
        (&directory, 0o720, 0o755),
        (&below, 0o777, 0o700),
        (&below, 0o750, 0o700),
    ] {
        set_mode(open, mode);
        let (status, said, errors) = doctor();
        assert_eq!(status, 1, "{mode:o}: {said}{errors}");
        let words = format!("{} has mode {mode:o}, so others can", open.display());
        let line = said.lines().find(|line| line.contains(&words)).unwrap_or_default();
        assert!(line.starts_with("WRONG"), "{mode:o}: {said}");
        set_mode(open, shut);
        assert_eq!(doctor().0, 0, "{shut:o}");
    }
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn sockets_that_are_no_names_of_ours_are_left_out() {
    let directory = runtime("upper");
    let below = directory.join("msgpipe");
    fs::create_dir(&below).unwrap();
    set_mode(&below, 0o700);
    let others = ["UPPER.sock", "two words.sock", "-.sock", ".sock", "Mixed.sock"];
    let _held = others.map(|it| UnixListener::bind(below.join(it)).unwrap());
    let mut server = command(&["serve", "ours", "--echo"]);
    let mut server = Started::new(server.env("XDG_RUNTIME_DIR", &directory));
    let mut line = String::new();
    BufReader::new(server.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let list = |arguments| output(command(arguments).env("XDG_RUNTIME_DIR", &directory));
    let (status, said, errors) = list(&["list", "--json"]);
    assert_eq!(status, 0, "{errors}");
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said.as_array().unwrap().len(), 1, "{said}");
    assert_eq!((&said[0]["name"], &said[0]["state"]), (&"ours".into(), &"live".into()));
    fs::remove_dir_all(directory).unwrap();
}
