//! Starts that fail: what the caller is told, and what is left behind.

use super::roles::{FAILED, PATIENCE, Scene, connect, patient};
use msgpipe::{
    ClientOptions, Error, Event, Fault, LocalServer, MessageServer, STDERR_LINES, Start, StartError,
};
use std::io;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The problem of a start that fails, and its text.
#[track_caller]
fn problem(options: &ClientOptions, scene: &Scene) -> (StartError, String) {
    let error = connect(options, &scene.name).unwrap_err();
    assert!(error.is_not_begun());
    let text = error.to_string();
    assert!(text.contains(&scene.name), "{text}");
    assert!(!text.chars().any(char::is_control), "{text:?}");
    match error {
        Error::NotStarted { problem, .. } => (problem, text),
        error => panic!("{error}"),
    }
}

#[test]
fn without_start_with_nothing_is_started() {
    let scene = Scene::new();
    let Err(Error::NoServer { .. }) = msgpipe::Client::connect(scene.name.as_str()) else {
        panic!("it was started");
    };
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let scene = Scene::new();
    let options = ClientOptions::new().start_with(Command::new("no-such-program-of-msgpipe"));
    let error = options.connect(scene.name.as_str()).unwrap_err();
    assert_eq!(error.fault(), Fault::System);
    let (problem, text) = problem(&options, &scene);
    assert!(text.contains("no-such-program-of-msgpipe"), "{text}");
    let StartError::NotRun { cause, .. } = problem else { panic!("{problem}") };
    assert_eq!(cause.kind(), io::ErrorKind::NotFound);
}

#[test]
fn status_and_last_lines_of_a_server_that_fails_reach_the_caller() {
    let scene = Scene::new();
    let (problem, text) = problem(&scene.starting("fails"), &scene);
    let StartError::Ended { status, stderr, .. } = problem else { panic!("{problem}") };
    assert_eq!(status.code(), Some(FAILED));
    let last: Vec<String> =
        (21 - STDERR_LINES..=20).map(|number| format!("reason {number}")).collect();
    assert_eq!(stderr, last);
    assert!(text.contains("reason 20") && !text.contains("reason 10"), "{text}");
    let error = scene.starting("fails").connect_messages(scene.name.as_str()).unwrap_err();
    assert_eq!(error.fault(), Fault::Peer);
}

#[test]
fn of_10_mib_on_standard_error_the_end_is_kept() {
    let scene = Scene::new();
    let (problem, text) = problem(&scene.starting("fails with 10 MiB"), &scene);
    let StartError::Ended { status, stderr, .. } = problem else { panic!("{problem}") };
    assert_eq!(status.code(), Some(FAILED));
    assert_eq!(stderr.last().unwrap(), "the last line");
    assert!(text.len() < 5000, "{} bytes", text.len());
}

#[test]
fn strange_bytes_on_standard_error_are_made_safe() {
    let scene = Scene::new();
    let (problem, text) = problem(&scene.starting("fails with strange bytes"), &scene);
    let StartError::Ended { stderr, .. } = problem else { panic!("{problem}") };
    assert_eq!(stderr, ["\u{fffd}\u{fffd} \\u{1b}[2J", "root logged in"]);
    assert!(text.contains("[2J | root logged in"), "{text}");
}

#[test]
fn a_log_has_all_of_it_and_the_error_the_end_of_this_start() {
    let scene = Scene::new();
    let log = std::env::temp_dir().join(format!("{}.log", scene.name));
    std::fs::write(&log, "of an earlier start\n").unwrap();
    let start = Start::command(scene.command("fails with strange bytes")).log(&log);
    let (problem, _) = problem(&ClientOptions::new().limits(patient()).start_with(start), &scene);
    let StartError::Ended { stderr, .. } = problem else { panic!("{problem}") };
    assert_eq!(stderr.len(), 2, "{stderr:?}");
    let logged = std::fs::read(&log).unwrap();
    assert!(logged.starts_with(b"of an earlier start\n\xff\xfe"));
    std::fs::remove_file(&log).unwrap();
    let nowhere = std::env::temp_dir().join("no such directory").join("log");
    let start = Start::command(scene.command("server")).log(nowhere);
    let (problem, text) = self::problem(&ClientOptions::new().start_with(start), &scene);
    assert!(matches!(problem, StartError::Log { .. }) && text.contains("the log "), "{text}");
    assert!(scene.noted().is_empty());
}

#[test]
fn a_server_that_hangs_is_ended_at_the_limit() {
    let scene = Scene::new();
    let mut watch = LocalServer::bind(scene.gate.as_str()).unwrap();
    let limit = Duration::from_secs(3);
    let options = scene.starting("hangs").limits(patient().with_start(limit));
    let began = Instant::now();
    let (problem, text) = problem(&options, &scene);
    assert!(began.elapsed() >= limit);
    let StartError::Late { after, has_ended: false, stderr, .. } = problem else {
        panic!("{problem}");
    };
    assert_eq!((after, stderr), (limit, vec!["I wait for the disk".to_owned()]));
    assert!(text.contains("Limits::start"), "{text}");
    // It was there, and it is gone.
    let mut is_gone = false;
    while !is_gone {
        is_gone = matches!(watch.poll(Some(PATIENCE)).unwrap().unwrap(), Event::Closed(..));
    }
}

#[test]
fn a_command_that_ends_well_may_have_asked_elsewhere_for_the_server() {
    let scene = Scene::new();
    let limit = Duration::from_secs(3);
    let options = scene.starting("ends at once").limits(patient().with_start(limit));
    let (problem, _) = problem(&options, &scene);
    let StartError::Late { has_ended: true, .. } = problem else { panic!("{problem}") };
}

#[test]
fn a_hook_is_called_once_and_its_error_is_returned() {
    let scene = Scene::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let start = Start::hook(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Err(io::Error::other("the manager\nsays no"))
    });
    let options = ClientOptions::new().start_with(start);
    let (problem, text) = problem(&options, &scene);
    assert!(matches!(problem, StartError::Hook { .. }));
    assert!(text.contains("the manager\\u{a}says no"), "{text}");
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    let limits = patient().with_start(Duration::from_millis(20));
    let options = ClientOptions::new().limits(limits).start_with(Start::hook(|| Ok(())));
    let (problem, text) = self::problem(&options, &scene);
    let StartError::Late { program: None, .. } = problem else { panic!("{problem}") };
    assert!(!text.contains("standard error"), "{text}");
}

/// The lock is given back by a panic of the hook: the next start does not wait for it.
#[test]
fn a_hook_that_panics_holds_nothing() {
    let scene = Scene::new();
    let options = ClientOptions::new().start_with(Start::hook(|| panic!("of the test")));
    let name = scene.name.as_str();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| options.connect(name)));
    assert!(panicked.is_err());
    let began = Instant::now();
    let limits = patient().with_start(2 * PATIENCE);
    connect(&scene.starting("server").limits(limits), name).unwrap();
    assert!(began.elapsed() < PATIENCE, "it has waited for the lock");
}
