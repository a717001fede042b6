//! The clients in `clients/`, for Node and Python, with a server that offers all that there is.
#![cfg(target_os = "linux")]

use msgpipe::{
    ErrorReply, Failure, Limits, Metadata, Request, Responder, Server, Stopper, Workers,
};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

/// What the cases in `clients/node/test/cases.mjs` and `clients/python/tests/cases.py` call.
struct Service {
    stopper: OnceLock<Stopper>,
    cancelled: Arc<AtomicUsize>,
    held: Mutex<Vec<Responder>>,
    noted: Mutex<String>,
}

impl Service {
    fn answer(&self, request: Request, responder: Responder) {
        match request.method() {
            1 => responder.reply(request.into_body()),
            2 => self.count(&request, responder),
            3 => responder.reply(sum(request)),
            4 => {
                let error = ErrorReply::new(404, "no such note").with_details("details");
                responder.reply(Err::<String, _>(error));
            }
            5 => {
                let cancelled = self.cancelled.clone();
                responder.on_interrupt(move |_| {
                    cancelled.fetch_add(1, Ordering::SeqCst);
                });
                self.held.lock().unwrap().push(responder);
            }
            6 => responder.reply(self.cancelled.load(Ordering::SeqCst).to_string()),
            7 => {
                let told = request.connection().notify(request.body());
                responder.reply(told.map(|()| "").map_err(|error| error.to_string()));
            }
            8 => responder.reply(self.noted.lock().unwrap().clone()),
            9 => {
                let called = request.connection().call("hello");
                responder.reply(called.unwrap_err().to_string());
            }
            10 => responder.reply(in_words(&request.metadata())),
            11 => {
                responder.reply("");
                self.held.lock().unwrap().clear();
                self.stopper.get().unwrap().stop();
            }
            other => responder.reply(Err::<String, _>(format!("no method {other}"))),
        }
    }

    fn count(&self, request: &Request, responder: Responder) {
        let most: u64 = std::str::from_utf8(&request.body()).unwrap().parse().unwrap();
        let mut parts = responder.into_parts();
        for number in 0..most {
            if parts.send(number.to_string()).is_err() {
                self.cancelled.fetch_add(1, Ordering::SeqCst);
                return;
            }
        }
        parts.finish();
    }
}

fn sum(request: Request) -> Result<String, Failure> {
    let mut sum = 0;
    for part in request.into_parts() {
        sum += part?.len();
    }
    Ok(sum.to_string())
}

/// Without what belongs to the protocol.
fn in_words(metadata: &Metadata) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let pairs = metadata.pairs().filter(|(key, _)| key[0] != 0);
    let pairs =
        pairs.map(|(key, value)| format!("{}={}", String::from_utf8_lossy(&key), hex(&value)));
    pairs.collect::<Vec<_>>().join(" ")
}

/// Runs the cases of a client, of which there are so many. It stops the server at its end.
fn run_cases(program: &str, script: &str, count: usize) {
    if !is_installed(program) {
        return;
    }
    let name = format!("msgpipe.{program}.{}", std::process::id());
    let service = Arc::new(Service {
        stopper: OnceLock::new(),
        cancelled: Arc::default(),
        held: Mutex::default(),
        noted: Mutex::default(),
    });
    let noted = service.clone();
    let server = Server::bind_with(name.as_str(), Limits::default())
        .unwrap()
        .accept_streams()
        .on_notification(move |it| {
            let body = String::from_utf8_lossy(&it.body()).into_owned();
            *noted.noted.lock().unwrap() = format!("{} {body}", it.method());
        });
    let _ = service.stopper.set(server.stopper());
    let serving = thread::spawn(move || {
        let workers = Workers::new().threads(8).queue(2000).queue_in_all(2000);
        server.serve_workers_deferred(workers, move |request, responder| {
            service.answer(request, responder);
        })
    });
    run_script(program, script, &name, count);
    serving.join().unwrap().unwrap();
}

/// Runs a script that says `ok` so many times.
fn run_script(program: &str, script: &str, argument: &str, count: usize) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script);
    let timeout = PATIENCE.as_secs().to_string();
    let mut command = Command::new("timeout");
    command.args([&timeout, program]).arg(script).arg(argument).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.output().unwrap();
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{errors}");
    assert_eq!(said.lines().filter(|line| line.starts_with("ok ")).count(), count, "{said}");
}

fn is_installed(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        println!("skipped: {program} is not installed");
    }
    is_there
}

#[test]
fn the_client_in_node_does_what_its_page_says() {
    run_cases("node", "node/test/cases.mjs", 13);
}

#[test]
fn the_client_in_python_does_what_its_page_says() {
    run_cases("python3", "python/tests/cases.py", 11);
}

/// With servers of their own, which do what this crate's does not.
#[test]
fn the_client_in_node_bears_servers_that_break_rules() {
    if is_installed("node") {
        run_script("node", "node/test/faults.mjs", "", 14);
    }
}

#[test]
fn the_client_in_python_bears_servers_that_break_rules() {
    if is_installed("python3") {
        run_script("python3", "python/tests/faults.py", "", 10);
        run_script("python3", "python/tests/limits.py", "", 7);
    }
}

/// The declarations for TypeScript say what the module offers, and refuse what it does not take.
#[test]
fn the_declarations_are_what_typescript_reads() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/node");
    if !is_installed("tsc") {
        return;
    }
    let flags = "--noEmit --strict --target es2022 --module nodenext --moduleResolution nodenext \
                 --typeRoots test/types --types node test/types.ts";
    let mut tsc = Command::new("tsc");
    let output = tsc.args(flags.split_whitespace()).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
