//! The roles: servers of several kinds, and their clients.

use super::roles::{
    FAILED, FILES, GATE, NAME, PATIENCE, RECORD, ROLE, SAYS, STOP, SUBSCRIBE, connect, patient,
};
use msgpipe::{Client, ClientOptions, Error, MessageClient, Server, Topic};
use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Command, exit};
use std::thread;
use std::time::{Duration, Instant};

fn say(text: &str) {
    println!("{SAYS}{text}");
}

fn note(word: &str) {
    let mut record = OpenOptions::new().append(true).open(std::env::var(RECORD).unwrap()).unwrap();
    record.write_all(format!("{word}\n").as_bytes()).unwrap();
}

pub fn play() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    // Nothing of a failing test stays.
    thread::spawn(|| {
        thread::park_timeout(4 * PATIENCE);
        exit(9);
    });
    let name = std::env::var(NAME).unwrap();
    let gate = std::env::var(GATE).unwrap();
    match role.as_str() {
        "server" => serve(&name),
        "server behind a gate" => {
            note("running");
            Client::connect_with(gate.as_str(), patient()).unwrap().call("may I?").unwrap();
            serve(&name);
        }
        "fails first, behind a gate" => {
            fail_first(&gate);
            serve(&name);
        }
        "server that writes 10 MiB" => {
            write_much();
            serve(&name);
        }
        "server of one call" => serve_once(&name),
        "server that dies" => serve_until_told_to_die(&name),
        "server of news" => serve_news(&name),
        "fails" => {
            (1..=20).for_each(|number| eprintln!("reason {number}"));
            exit(FAILED);
        }
        "fails with 10 MiB" => {
            write_much();
            eprintln!("the last line");
            exit(FAILED);
        }
        "fails with strange bytes" => {
            std::io::stderr().write_all(b"\xff\xfe \x1b[2J\nroot logged in\r\n").unwrap();
            exit(FAILED);
        }
        "hangs" => {
            eprintln!("I wait for the disk");
            let held = MessageClient::connect(gate.as_str()).unwrap();
            drop(held.receive(None));
        }
        "ends at once" => exit(0),
        "client" => follow_orders(|name| options_of("server", name)),
        "client of a server behind a gate" => {
            follow_orders(|name| options_of("server behind a gate", name));
        }
        "client of a server that fails" => follow_orders(|name| {
            options_of("fails", name).limits(patient().with_start(Duration::from_secs(2)))
        }),
        // It waits for a lock for five seconds, and then starts a server all the same.
        "impatient client" => follow_orders(|name| {
            let limits = patient().with_start(Duration::from_secs(10));
            options_of("server behind a gate", name).limits(limits)
        }),
        "client that starts again and again" => start_again_and_again(&name),
        "client that stays" => {
            let _client = connect(&options_of("server", &name), &name).unwrap();
            say("connected");
            thread::park();
        }
        role => panic!("no role {role:?}"),
    }
    exit(0);
}

/// Ends with a failure in the first process of the scene that comes here.
fn fail_first(gate: &str) {
    note(&std::process::id().to_string());
    Client::connect_with(gate, patient()).unwrap().call("may I?").unwrap();
    let record = std::fs::read_to_string(std::env::var(RECORD).unwrap()).unwrap();
    if record.lines().count() == 1 {
        exit(FAILED);
    }
}

fn write_much() {
    let line = [&[b'x'; 1023][..], b"\n"].concat();
    (0..10 << 10).for_each(|_| std::io::stderr().write_all(&line).unwrap());
}

fn serve(name: &str) {
    let server = match Server::bind(name) {
        Ok(server) => server,
        Err(Error::AlreadyServed { .. }) => {
            note("already served");
            exit(0);
        }
        Err(error) => {
            eprintln!("{error}");
            exit(1);
        }
    };
    note("bound");
    let stopper = server.stopper();
    let serving = server.serve(move |request| match request.method() {
        STOP => {
            stopper.stop();
            String::new()
        }
        FILES => open_files(),
        _ => std::process::id().to_string(),
    });
    serving.unwrap();
}

/// Notes each request that it carries out. A request that begins with `die` ends the process, without a word to anybody,
/// the first time that it is carried out by any server of the scene.
fn serve_until_told_to_die(name: &str) {
    let server = Server::bind(name).unwrap();
    note("bound");
    let stopper = server.stopper();
    let serving = server.serve(move |request| {
        if request.method() == STOP {
            stopper.stop();
            return String::new();
        }
        let text = String::from_utf8_lossy(&request.body()).into_owned();
        note(&text);
        let noted = std::fs::read_to_string(std::env::var(RECORD).unwrap()).unwrap();
        if text.starts_with("die") && noted.lines().filter(|line| *line == text).count() == 1 {
            exit(9);
        }
        text
    });
    serving.unwrap();
}

/// The first message of a subscription is the number of this process. A call with a text publishes it; `die` ends the
/// process, and `finish` all subscriptions.
fn serve_news(name: &str) {
    let server = Server::bind(name).unwrap();
    note("bound");
    let (stopper, topic) = (server.stopper(), Topic::default());
    let serving = server.serve_deferred(move |request, responder| {
        if request.method() == SUBSCRIBE {
            return topic.subscribe_with(responder, std::process::id().to_string());
        }
        let body = request.into_body();
        match &body[..] {
            b"die" => exit(9),
            b"finish" => topic.finish(),
            b"" => stopper.stop(),
            _ => drop(topic.publish(body)),
        }
        responder.reply("");
    });
    serving.unwrap();
}

/// What this process has open, on Linux.
fn open_files() -> String {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.map(|path| format!("{}\n", path.display())).collect()
}

/// The command of another role.
fn command_of(role: &str, name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_process_plays_its_role", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(NAME, name);
    command
}

/// As the clients of the test itself, in another process. The server's environment is this one's.
fn options_of(role: &str, name: &str) -> ClientOptions {
    ClientOptions::new().limits(patient()).start_with(command_of(role, name))
}

/// Connects to each name of its input, and says the number of the process that serves it.
fn follow_orders(options: impl Fn(&str) -> ClientOptions) {
    say("ready");
    for order in std::io::stdin().lines().map_while(Result::ok) {
        let served =
            connect(&options(&order), &order).and_then(|client| client.call("who serves?"));
        match served {
            Ok(pid) => say(&String::from_utf8_lossy(&pid)),
            Err(error) => say(&format!("failed: {error}")),
        }
    }
}

/// Starts a server again and again, and says what is left of that in this process. Linux.
fn start_again_and_again(name: &str) {
    let things = || {
        let count = |of| std::fs::read_dir(of).map_or(0, Iterator::count);
        (count("/proc/self/fd"), count("/proc/self/task"))
    };
    let restart = || {
        let client = connect(&options_of("server", name), name).unwrap();
        drop(client.with_method(STOP).call(""));
        while !matches!(Client::connect(name), Err(Error::NoServer { .. })) {
            thread::yield_now();
        }
    };
    restart();
    let until = Instant::now() + PATIENCE;
    // Threads that wait for the processes end with them.
    let before = (things().0, 2 + 1);
    (0..20).for_each(|_| restart());
    while things().1 > before.1 && Instant::now() < until {
        thread::yield_now();
    }
    say(&format!("{} descriptors more", things().0 - before.0));
    say(&format!("{} threads more", things().1.saturating_sub(before.1)));
}

/// A server that ends, without a word, at its second call.
fn serve_once(name: &str) {
    let server = Server::bind(name).unwrap();
    note("bound");
    let mut is_first = true;
    server
        .serve_deferred(move |request, responder| {
            if !std::mem::take(&mut is_first) {
                exit(5);
            }
            responder.reply(request.into_body());
        })
        .unwrap();
}
