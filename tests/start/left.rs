//! Starts that a call with little time leaves unfinished: who goes on with them, and what is left of them.

use super::roles::{PATIENCE, Scene, connect, patient};
use super::waiting::Echo;
use msgpipe::{
    Backoff, Error, Event, LocalServer, MessageServer, ReconnectingClient, Responder, Server,
    StartError,
};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// A server at the gate of a scene, which holds its calls until the test answers them.
struct Gate {
    stopper: msgpipe::Stopper,
    serving: Option<thread::JoinHandle<()>>,
    held: mpsc::Receiver<Responder>,
}

impl Gate {
    fn new(scene: &Scene) -> Gate {
        let server = Server::bind(scene.gate.as_str()).unwrap();
        let stopper = server.stopper();
        let (hold, held) = mpsc::channel();
        let serving = thread::spawn(move || {
            server.serve_deferred(|_, responder| drop(hold.send(responder))).unwrap();
        });
        Gate { stopper, serving: Some(serving), held }
    }

    /// Makes calls that have little time until one has started a server that waits at the gate.
    fn leave_start(&self, client: &ReconnectingClient) -> Responder {
        let hasty = client.with_timeout(Duration::from_millis(30));
        loop {
            let error = hasty.call("").unwrap_err();
            assert!(error.is_not_begun(), "{error}");
            if let Ok(responder) = self.held.try_recv() {
                return responder;
            }
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.stopper.stop();
        self.serving.take().unwrap().join().unwrap();
    }
}

fn client(scene: &Scene, role: &str) -> ReconnectingClient {
    scene.starting(role).reconnecting(scene.name.as_str(), Backoff::new()).unwrap()
}

/// Waits until no process has this number, not even one that nobody has waited for.
#[cfg(target_os = "linux")]
fn wait_until_reaped(pid: &str) {
    let until = Instant::now() + PATIENCE;
    while std::path::Path::new("/proc").join(pid).exists() {
        assert!(Instant::now() < until, "the process {pid} stays");
        thread::yield_now();
    }
}

/// The process ends when its starter makes no calls. Neither is its lock kept, nor does it stay as a zombie, nor is the
/// next call of that client answered with its end.
#[test]
fn a_start_that_fails_when_nobody_waits_for_it_holds_up_nobody() {
    let scene = Scene::new();
    let gate = Gate::new(&scene);
    let starter = client(&scene, "fails first, behind a gate");
    gate.leave_start(&starter).reply("go on");
    let began = Instant::now();
    #[cfg(target_os = "linux")]
    wait_until_reaped(&scene.noted()[0]);
    let limits = patient().with_start(2 * PATIENCE);
    let server = connect(&scene.starting("server").limits(limits), &scene.name).unwrap();
    assert!(began.elapsed() < PATIENCE, "it has waited for the lock");
    drop(server);
    scene.stop();
    let serves = thread::spawn(move || starter.call(""));
    // The second one that it has started.
    gate.held.recv_timeout(PATIENCE).unwrap().reply("go on");
    serves.join().unwrap().unwrap();
}

#[test]
fn a_start_that_hangs_is_ended_at_its_limit_also_if_nobody_waits() {
    let scene = Scene::new();
    let mut watch = LocalServer::bind(scene.gate.as_str()).unwrap();
    let options = scene.starting("hangs").limits(patient().with_start(Duration::from_secs(2)));
    let client = options.reconnecting(scene.name.as_str(), Backoff::new()).unwrap();
    let hasty = client.with_timeout(Duration::from_millis(30));
    // Under Wine a process is not always started; a call too late would go on with the start itself.
    loop {
        let error = hasty.call("").unwrap_err();
        assert!(error.is_not_begun(), "{error}");
        if watch.poll(Some(Duration::from_millis(1))).unwrap().is_some() {
            break;
        }
    }
    while !matches!(watch.poll(Some(PATIENCE)).unwrap().unwrap(), Event::Closed(..)) {}
}

#[test]
fn a_dropped_client_leaves_the_server_that_it_has_started_to_itself() {
    let scene = Scene::new();
    let gate = Gate::new(&scene);
    let starter = client(&scene, "server behind a gate");
    let responder = gate.leave_start(&starter);
    drop(starter);
    responder.reply("go on");
    let until = Instant::now() + PATIENCE;
    // With a call: it notes that it has bound before it answers.
    let call = || msgpipe::Client::connect(scene.name.as_str())?.call("");
    while call().is_err() {
        assert!(Instant::now() < until, "it does not serve");
        thread::yield_now();
    }
    assert_eq!(scene.noted(), ["running", "bound"]);
}

/// A server that is there is used at once by a new call, whatever became of earlier ones, and of those that wait.
#[test]
fn a_new_call_does_not_wait_for_the_pauses_of_others() {
    let scene = Scene::new();
    let hour = Duration::from_secs(3600);
    let backoff = Backoff::new().with_first(hour).with_longest(hour);
    let options = msgpipe::ClientOptions::new().limits(patient().with_call(hour));
    let client = options.reconnecting(scene.name.as_str(), backoff).unwrap();
    let hasty = client.with_timeout(Duration::from_millis(10));
    for _ in 0..20 {
        let error = hasty.call("").unwrap_err();
        assert!(matches!(error, Error::GaveUp { tries: 1, time: Some(_), .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("10ms, with 1 try;") && text.contains("no server at"), "{text}");
    }
    let waiting = thread::spawn({
        let client = client.clone();
        move || client.call("a long pause")
    });
    let _echo = Echo::start(&scene);
    let began = Instant::now();
    assert_eq!(client.with_timeout(PATIENCE).call("hello").unwrap(), "hello");
    // What one call has found serves all.
    assert_eq!(waiting.join().unwrap().unwrap(), "a long pause");
    assert!(began.elapsed() < PATIENCE);
}

/// The application ignores the ends of its children: how they end is not known, and their numbers are not theirs any more.
#[cfg(unix)]
#[test]
fn of_children_that_the_application_ignores_only_the_end_is_known() {
    let scene = Scene::new();
    let role = scene.command("client of a server that fails");
    let mut ignoring = std::process::Command::new("python3");
    let ignores = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])";
    ignoring.args(["-c", ignores]).arg(role.get_program());
    ignoring.args(role.get_args());
    ignoring.envs(role.get_envs().map(|(name, value)| (name, value.unwrap())));
    let pipe = std::process::Stdio::piped;
    let mut client = super::roles::Talker::start(ignoring.stdin(pipe()).stdout(pipe()));
    assert_eq!(client.says(), "ready");
    client.order(&scene.name);
    let said = client.says();
    assert!(said.contains("has ended, without a failure that is known"), "{said}");
    assert!(said.contains("reason 20"), "{said}");
}

#[test]
fn a_directory_or_log_that_is_not_there_is_not_taken_for_the_program() {
    let scene = Scene::new();
    let nowhere = std::env::temp_dir().join("no such directory of msgpipe");
    let mut command = scene.command("server");
    command.current_dir(&nowhere);
    let options = msgpipe::ClientOptions::new().start_with(command);
    let error = options.connect(scene.name.as_str()).unwrap_err();
    assert!(error.to_string().contains("no such directory of msgpipe"), "{error}");
    let Error::NotStarted { problem: StartError::Directory { path, .. }, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(path, nowhere);
    assert!(scene.noted().is_empty());
}
