//! Servers that die with calls in flight, and are started again by their client: what is carried out again, and what is not.

use super::common::{PATIENCE, limits, on_each, unique_name, within};
use msgpipe::tokio::{ReconnectingClient, Subscription};
use msgpipe::{Backoff, Client, ClientOptions, Error, Received, Server, StartError, Topic};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const NAME: &str = "MSGPIPE_TOKIO_TEST_DIES";
const RECORD: &str = "MSGPIPE_TOKIO_TEST_RECORD";

/// Methods of the server, besides the one that notes its request and answers with it.
const STOP: u32 = 1;
const SUBSCRIBE: u32 = 2;

/// The calls that are open at once.
const CALLS: u32 = 100;

/// This test program, as a server. It notes each request before it carries it out, and dies when told to.
#[test]
fn a_process_plays_its_role() {
    let (Ok(name), Ok(record)) = (std::env::var(NAME), std::env::var(RECORD)) else { return };
    let mut record = std::fs::OpenOptions::new().append(true).open(record).unwrap();
    let Ok(server) = Server::bind_with(name.as_str(), limits()) else { return };
    let (stopper, topic) = (server.stopper(), Topic::default());
    let served = server.serve_deferred(move |request, responder| {
        let body = String::from_utf8(request.body().to_vec()).unwrap();
        match request.method() {
            STOP => {
                stopper.stop();
                responder.reply("it stops");
            }
            SUBSCRIBE => topic.subscribe_with(responder, std::process::id().to_string()),
            _ => {
                writeln!(record, "{body}").unwrap();
                topic.publish(body.clone());
                // The second time it is answered.
                let again = format!("{body}\n");
                let was = std::fs::read_to_string(std::env::var(RECORD).unwrap()).unwrap();
                if body.starts_with("die") && was.matches(&again).count() == 1 {
                    std::process::exit(1);
                }
                responder.reply(body);
            }
        }
    });
    served.unwrap();
}

/// A name, the command that serves it, and its record.
struct Scene {
    name: String,
    record: PathBuf,
}

impl Scene {
    fn new() -> Scene {
        let name = unique_name();
        let record = std::env::temp_dir().join(format!("{name}.record"));
        std::fs::write(&record, "").unwrap();
        Scene { name, record }
    }

    fn client(&self) -> ReconnectingClient {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "tokio_cases::killed::a_process_plays_its_role", "--nocapture"]);
        command.env(NAME, &self.name).env(RECORD, &self.record);
        let limits = limits().with_start(PATIENCE).with_connect(PATIENCE);
        let options = ClientOptions::new().limits(limits).start_with(command);
        let backoff = Backoff::new().with_first(Duration::from_millis(5)).with_tries(1000);
        ReconnectingClient::new(self.name.as_str(), &options, backoff).unwrap()
    }

    fn noted(&self) -> Vec<String> {
        let record = std::fs::read_to_string(&self.record).unwrap();
        record.lines().map(str::to_owned).collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let until = Instant::now() + PATIENCE;
        while let Ok(client) = Client::connect(self.name.as_str()) {
            drop(client.with_method(STOP).call(""));
            assert!(Instant::now() < until || std::thread::panicking(), "it does not stop");
            std::thread::yield_now();
        }
        let _ = std::fs::remove_file(&self.record);
        // Of a server that was killed.
        let socket = msgpipe::Endpoint::name(&self.name).unwrap().locate().unwrap();
        let _ = std::fs::remove_file(&socket);
        let lock = format!(".{}.sock.msgpipe-lock", self.name);
        let _ = std::fs::remove_file(socket.with_file_name(lock));
    }
}

/// A call; under Wine starting a process fails sometimes.
async fn call(client: &ReconnectingClient, text: &str) -> Result<String, Error> {
    loop {
        match client.call(text).await {
            Err(Error::NotStarted { problem: StartError::NotRun { .. }, .. }) if cfg!(windows) => {}
            done => return Ok(String::from_utf8_lossy(&done?).into_owned()),
        }
    }
}

#[test]
fn what_may_have_been_begun_is_sent_again_only_if_it_is_idempotent() {
    on_each(|| async {
        let scene = Scene::new();
        let client = scene.client();
        for round in 1..=3 {
            let once = format!("die {round} once");
            let error = call(&client, &once).await.unwrap_err();
            assert!(matches!(&error, Error::Closed { .. }) && !error.is_not_begun(), "{error}");
            let twice = format!("die {round} twice");
            assert_eq!(call(&client.idempotent(), &twice).await.unwrap(), twice);
            let noted = scene.noted();
            let times = |text: &str| noted.iter().filter(|noted| *noted == text).count();
            assert_eq!((times(&once), times(&twice)), (1, 2));
        }
    });
}

/// Many calls at once, and a server that dies again and again in the midst of them: each call ends once, and none that may
/// have been begun is sent again unless it is idempotent.
#[test]
fn no_call_that_is_not_idempotent_runs_twice() {
    on_each(|| async {
        let scene = Scene::new();
        let client = scene.client();
        let mut calls = JoinSet::new();
        for caller in 0..CALLS {
            let (plain, again) = (client.clone(), client.idempotent());
            calls.spawn(async move {
                let mut outcomes = Vec::new();
                for number in 0..4 {
                    let die = if number % 2 == 1 && caller % 25 == 0 { "die " } else { "" };
                    let text = format!("{die}{caller} {number}");
                    let is_idempotent = (caller + number) % 2 == 0;
                    let it = if is_idempotent { &again } else { &plain };
                    outcomes.push((call(it, &text).await, is_idempotent, text));
                }
                outcomes
            });
        }
        let mut ended = 0;
        while let Some(outcomes) = within(calls.join_next()).await {
            let noted = scene.noted();
            for (outcome, is_idempotent, text) in outcomes.unwrap() {
                ended += 1;
                let ran = noted.iter().filter(|noted| **noted == text).count();
                match outcome {
                    Ok(reply) => {
                        assert_eq!(reply, text);
                        assert!(ran == 1 || is_idempotent && ran > 1, "{text} ran {ran} times");
                    }
                    Err(error) if is_idempotent => panic!("{text}: {error}"),
                    Err(error) if error.is_not_begun() => assert_eq!(ran, 0, "{text}: {error}"),
                    Err(error) => assert!(ran <= 1, "{text} ran {ran} times: {error}"),
                }
            }
        }
        assert_eq!(ended, 4 * CALLS);
    });
}

async fn part(news: &mut Subscription) -> String {
    match within(news.next()).await {
        Some(Ok(Received::Part(part))) => String::from_utf8_lossy(&part).into_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_subscription_goes_on_over_the_death_of_its_server() {
    on_each(|| async {
        let scene = Scene::new();
        let client = scene.client();
        // Under Wine starting a process fails sometimes.
        call(&client, "first").await.unwrap();
        let mut news = client.with_method(SUBSCRIBE).subscribe("all").await.unwrap();
        let mut server = part(&mut news).await;
        for round in 0..3 {
            let text = format!("news {round}");
            call(&client, &text).await.unwrap();
            assert_eq!(part(&mut news).await, text);
            let die = format!("die {round}");
            call(&client, &die).await.unwrap_err();
            // What the server had sent before it died may come first.
            let reason = loop {
                match within(news.next()).await.unwrap().unwrap() {
                    Received::Part(part) => assert_eq!(part, die),
                    Received::Gap(reason) => break reason.to_string(),
                    other => panic!("{other:?}"),
                }
            };
            assert!(reason.contains(&scene.name), "{reason}");
            // The new connection may have been made with the server that was about to die.
            let other = loop {
                match within(news.next()).await.unwrap().unwrap() {
                    Received::Part(part) => break String::from_utf8_lossy(&part).into_owned(),
                    Received::Gap(_) => {}
                    other => panic!("{other:?}"),
                }
            };
            assert_ne!(server, other, "round {round}");
            server = other;
        }
    });
}
