//! Connections without a name: children that serve their parents, as real processes.

#[path = "children/roles.rs"]
mod roles;

use msgpipe::{Client, ClientOptions, CloseReason, Error, Limits};
use roles::{CANCELLED, COUNT, HOLD, INPUT, PEER, READY, TAKE_AGAIN, role};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A deadline that only a failing test reaches.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_child_plays_its_role() {
    roles::play();
}

fn limits() -> Limits {
    Limits::default().with_call(PATIENCE).with_child_end(PATIENCE)
}

#[track_caller]
fn spawn(command: &mut Command) -> (Client, msgpipe::ChildProcess) {
    ClientOptions::new().limits(limits()).spawn(command).unwrap()
}

fn example() -> Command {
    // `cargo test` builds the examples next to the tests.
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(2).unwrap();
    let example = target.join("examples/plugin").with_extension(std::env::consts::EXE_EXTENSION);
    assert!(example.exists(), "run `cargo build --example plugin` first");
    Command::new(example)
}

#[test]
fn a_child_answers_and_ends_with_its_client() {
    let (client, mut child) = spawn(&mut role("serve"));
    for size in [0, 1, 4096, 65_536, 1 << 20] {
        let body = vec![7; size];
        assert!(client.call(body.clone()).unwrap() == body, "{size} bytes");
    }
    assert_eq!(client.server().pid, Some(child.id()));
    let parent = client.with_method(PEER).call("").unwrap();
    assert_eq!(parent, std::process::id().to_string());
    assert!(child.try_wait().unwrap().is_none());
    drop(client);
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_connection_is_taken_once_and_standard_input_is_empty_then() {
    let (client, _child) = spawn(&mut role("serve"));
    assert_eq!(client.with_method(INPUT).call("").unwrap(), r#"Ok("")"#);
    let error = client.with_method(TAKE_AGAIN).call("").unwrap();
    let error = String::from_utf8(error.to_vec()).unwrap();
    assert!(error.contains("taken before"), "{error}");
    assert_eq!(client.call("still").unwrap(), "still");
}

#[test]
fn parts_flow_and_cancels_arrive() {
    let (client, _child) = spawn(&mut role("serve"));
    let mut parts = client.with_method(COUNT).stream("").unwrap();
    for number in 0..10_000 {
        assert_eq!(parts.next().unwrap().unwrap(), number.to_string());
    }
    drop(parts);
    drop(client.with_method(HOLD).start("held").unwrap());
    let started = Instant::now();
    while client.with_method(CANCELLED).call("").unwrap() != "1" {
        assert!(started.elapsed() < PATIENCE, "the cancel has not arrived");
    }
}

#[test]
fn all_that_is_in_flight_ends_when_the_child_is_killed() {
    for stdio in [false, true] {
        let options = ClientOptions::new().limits(limits());
        let (client, mut child) = match stdio {
            false => options.spawn(&mut role("serve")).unwrap(),
            true => options.spawn_stdio(example().arg("stdio").stderr(Stdio::null())).unwrap(),
        };
        assert_eq!(client.call("1").unwrap(), "1");
        if stdio {
            // It has no method that holds a call: it ends before it is asked.
            child.kill().unwrap();
        }
        let hold = client.with_method(HOLD);
        let calls: Vec<_> = (0..100).map_while(|_| hold.start("held").ok()).collect();
        child.kill().unwrap();
        for call in calls {
            let error = call.wait().unwrap_err();
            assert!(
                matches!(error, Error::Closed { reason: CloseReason::Broken(_), .. }),
                "{error}"
            );
            assert!(error.to_string().contains("has ended ("), "{error}");
        }
        let error = client.call("anybody there?").unwrap_err();
        assert!(error.to_string().contains("has ended ("), "{error}");
        assert!(!child.wait().unwrap().success());
    }
}

#[test]
fn the_first_call_to_a_child_that_has_ended_says_so() {
    for (how, status) in [("exits", "7"), ("panics", "101")] {
        let (client, mut child) = spawn(role(how).stderr(Stdio::null()));
        let error = client.call("hello").unwrap_err().to_string();
        let id = child.id();
        let ended = format!("the child process {id} has ended (exit");
        assert!(error.contains(&ended) && error.contains(status), "{error}");
        assert_eq!(child.wait().unwrap().code().unwrap().to_string(), status);
    }
    let error = Client::spawn(&mut Command::new("msgpipe-no-such-program")).unwrap_err();
    assert!(matches!(error, Error::System { .. }), "{error}");
    assert!(error.to_string().contains("msgpipe-no-such-program"), "{error}");
}

#[test]
fn a_child_without_a_parent_says_what_it_has_instead() {
    let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
    for (input, said) in
        [(Stdio::null(), "a device"), (file.into(), "a file"), (Stdio::piped(), "an ordinary pipe")]
    {
        let mut command = role("without a parent");
        let child = command.stdin(input).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        assert!(errors.contains("said: standard input: ") && errors.contains(said), "{errors}");
    }
}

/// Standard streams that carry no connection are left alone: a child of `spawn`, and of nobody.
#[test]
fn standard_streams_without_a_connection_are_refused() {
    let mut command = role("over standard streams");
    let (client, child) = spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let output = child.into_inner().wait_with_output().unwrap();
    drop(client);
    let mut nobody = role("over standard streams");
    let nobody = nobody.stdin(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    for (output, said) in [(output, "Server::inherited"), (nobody, "standard input is a device")] {
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        assert!(errors.contains("said: standard streams: ") && errors.contains(said), "{errors}");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.is_empty() || printed.contains("running 1 test"), "{printed}");
    }
}

/// The output of the child ends with the last process that has it.
#[test]
fn a_child_ends_when_its_parent_is_killed() {
    for host in ["host", "host of one that hangs"] {
        let mut host = role(host).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(host.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains(READY) {
            line.clear();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "it ended before it was ready");
        }
        host.kill().unwrap();
        host.wait().unwrap();
        output.read_to_end(&mut Vec::new()).unwrap();
    }
}

/// If the second child had an end of the first one's connection, that connection would not end.
#[test]
fn no_child_has_the_connection_of_another() {
    let (first, mut first_child) = spawn(&mut role("serve"));
    let (second, mut second_child) = spawn(&mut role("serve"));
    let (third, _third_child) = spawn(&mut role("serve"));
    for client in [&first, &second, &third] {
        client.call("it has started").unwrap();
    }
    drop(first);
    assert!(first_child.wait_within(PATIENCE).unwrap().is_some_and(|status| status.success()));
    second_child.kill().unwrap();
    let error = second.call("hello").unwrap_err();
    assert!(error.to_string().contains("has ended ("), "{error}");
    assert_eq!(third.call("still here").unwrap(), "still here");
}

#[test]
fn deadlines_hold_with_a_child_that_never_reads() {
    for stdio in [false, true] {
        let limits = limits().with_child_end(Duration::from_millis(50));
        let options = ClientOptions::new().limits(limits);
        let (client, child) = match stdio {
            false => options.spawn(&mut role("parks")).unwrap(),
            // It writes what begins a test program, which the client reads only while it waits.
            true => {
                options.spawn_stdio(role("parks").arg("--quiet").stdout(Stdio::piped())).unwrap()
            }
        };
        let hasty = client.with_timeout(Duration::from_millis(50));
        let started = Instant::now();
        for _ in 0..3 {
            // More than every buffer holds, and more than is sent without the settings.
            hasty.call(vec![0; 8 << 20]).unwrap_err();
            hasty.call("small").unwrap_err();
        }
        assert!(started.elapsed() < PATIENCE / 2);
        drop(child); // it is killed
        assert!(client.is_closed());
    }
}

#[test]
fn dropping_the_handle_closes_kills_and_waits() {
    let limits = limits().with_child_end(Duration::from_millis(100));
    let options = ClientOptions::new().limits(limits);
    for hangs in [false, true] {
        let (client, child) =
            options.spawn(&mut role(if hangs { "hangs" } else { "serve" })).unwrap();
        let call = client.with_method(HOLD).start("held").unwrap();
        let waiting = thread::spawn(move || call.wait());
        drop(child);
        let error = waiting.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::Closed { .. }), "{error}");
        assert!(client.is_closed() && client.call("hello").is_err());
    }
}

#[test]
fn a_released_child_lives_on() {
    let (client, child) = spawn(&mut role("serve"));
    let mut child = child.into_inner();
    assert_eq!(client.call("hello").unwrap(), "hello");
    drop(client);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_child_serves_its_standard_streams_and_its_prints_do_not_break_them() {
    let mut command = example();
    command.arg("stdio").stderr(Stdio::piped());
    let (client, mut child) =
        ClientOptions::new().limits(limits()).spawn_stdio(&mut command).unwrap();
    let mut errors = child.take_stderr().unwrap();
    for size in [0, 1, 4096, 65_536, 1 << 20] {
        assert!(client.call(vec![b'a'; size]).unwrap() == vec![b'A'; size], "{size} bytes");
    }
    drop(client);
    assert!(child.wait().unwrap().success());
    let mut printed = String::new();
    errors.read_to_string(&mut printed).unwrap();
    assert_eq!(printed.lines().filter(|line| line.starts_with("plug-in: ")).count(), 5);
}

#[test]
fn what_a_program_prints_that_does_not_serve_is_a_clear_error() {
    let mut command = role("serve"); // its standard input is no connection, and the test program prints
    let options = ClientOptions::new().limits(limits());
    let (client, _child) = options.spawn_stdio(command.stderr(Stdio::null())).unwrap();
    let error = client.call("hello").unwrap_err();
    assert!(matches!(error, Error::Closed { reason: CloseReason::Peer(_), .. }), "{error}");
    assert!(error.to_string().contains("running 1 test"), "{error}");
}
