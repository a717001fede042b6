//! The same handler in each mode, and what callers see when an instance and the engine are killed.
#![forbid(unsafe_code)]

use msgpipe_nats::NatsClient;
use nats_test_server::NatsServer;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CALLS: usize = 10_000;
const CALLERS: usize = 64;
/// Of one call.
const TIME: Duration = Duration::from_secs(5);
/// Of all: none hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process of the example, killed on drop.
struct Process {
    child: Child,
    /// Its first line.
    said: String,
}

impl Process {
    fn start(directory: &std::path::Path, arguments: &[&str]) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_scale_out"))
            .args(arguments)
            .current_dir(directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert!(said.starts_with("ready"), "{arguments:?} said {said:?}");
        Process { child, said }
    }

    fn kill(mut self) {
        self.child.kill().unwrap(); // SIGKILL
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn unique_name(what: &str) -> String {
    format!("msgpipe.test.scale_out.{}.{what}", std::process::id())
}

fn assert_serves(name: &str) {
    let client = msgpipe::Client::connect(name).unwrap().with_timeout(PATIENCE);
    assert_eq!(client.call("hello").unwrap(), "HELLO");
    let error = client.call(vec![0xff]).unwrap_err();
    assert_eq!(error.reply().unwrap().code, msgpipe::ErrorReply::FAILED, "{error}");
}

#[test]
fn a_local_client_sees_no_difference() {
    let (engine, directory) = (NatsServer::start(), nats_test_server::directory());
    let directory = directory.path();
    let [one, two, three] = ["local", "tls", "nats"].map(unique_name);
    let _local = Process::start(directory, &["--local", &one]);
    assert_serves(&one);

    let tls = Process::start(directory, &["--tls", "127.0.0.1:0"]);
    let address = tls.said.trim().rsplit(' ').next().unwrap();
    let _bridge = Process::start(directory, &["--bridge", &two, "--to-tls", address]);
    assert_serves(&two);

    let _instance = Process::start(directory, &["--nats", &engine.url()]);
    let _bridge = Process::start(directory, &["--bridge", &three, "--to-nats", &engine.url()]);
    assert_serves(&three);
}

#[derive(Default)]
struct Ends {
    all: AtomicUsize,
    replies: AtomicUsize,
    not_begun: AtomicUsize,
    unknown: AtomicUsize,
}

/// One of the callers: it makes calls until all have been made.
async fn calls(client: NatsClient, taken: Arc<AtomicUsize>, ends: Arc<Ends>) {
    while taken.fetch_add(1, Ordering::SeqCst) < CALLS {
        match client.call("hello").await {
            Ok(reply) => {
                assert_eq!(reply, "HELLO");
                ends.replies.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) if error.is_not_begun() => {
                ends.not_begun.fetch_add(1, Ordering::SeqCst);
                // A caller that tries again at once would have no call left for the engine's return.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("may have been carried out"), "{text}");
                ends.unknown.fetch_add(1, Ordering::SeqCst);
            }
        }
        ends.all.fetch_add(1, Ordering::SeqCst);
    }
}

async fn until(ends: &Ends, count: usize) {
    while ends.all.load(Ordering::SeqCst) < count {
        tokio::task::yield_now().await;
    }
}

#[test]
fn each_of_10_000_calls_ends_while_an_instance_and_the_engine_are_killed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let test = async {
        let (mut engine, directory) = (NatsServer::start(), nats_test_server::directory());
        let url = engine.url();
        let start = |_| Process::start(directory.path(), &["--nats", &url]);
        let [killed, _second, _third] = [0, 1, 2].map(start);
        let client = NatsClient::connect(&url, "scale_out").await.unwrap().with_timeout(TIME);
        let (taken, ends) = (Arc::new(AtomicUsize::new(0)), Arc::new(Ends::default()));
        let began = Instant::now();
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| tokio::spawn(calls(client.clone(), taken.clone(), ends.clone())))
            .collect();
        until(&ends, CALLS / 4).await;
        killed.kill();
        until(&ends, CALLS / 2).await;
        engine.restart();
        for caller in callers {
            caller.await.unwrap();
        }
        let count = |of: &AtomicUsize| of.load(Ordering::SeqCst);
        let (replies, not_begun, unknown) =
            (count(&ends.replies), count(&ends.not_begun), count(&ends.unknown));
        println!(
            "{replies} replies, {not_begun} not begun, {unknown} unknown in {:?}",
            began.elapsed()
        );
        assert_eq!(replies + not_begun + unknown, CALLS);
        // Each fault concerns the calls in flight, one for each caller.
        assert!(unknown <= 2 * CALLERS, "{unknown}");
        // The instances that were left came back to the engine.
        loop {
            match client.call("hello").await {
                Ok(reply) => break assert_eq!(reply, "HELLO"),
                Err(error) => assert!(error.is_not_begun(), "{error}"),
            }
        }
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("none hangs") });
}
