//! The processes that take part: servers of several kinds, and their clients.

use msgpipe::{Client, ClientOptions, Error, Limits, MessageClient, Server, StartError, Topic};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio, exit};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A deadline that only a failing test reaches.
pub const PATIENCE: Duration = Duration::from_secs(60);

const ROLE: &str = "MSGPIPE_TEST_START_ROLE";
const NAME: &str = "MSGPIPE_TEST_START_NAME";
/// The file in which each server notes what became of it.
const RECORD: &str = "MSGPIPE_TEST_START_RECORD";
/// A server of the test, which some roles wait for.
const GATE: &str = "MSGPIPE_TEST_START_GATE";

/// The prefix of what a client says.
const SAYS: &str = "the role says: ";

/// Methods of the servers.
pub const STOP: u32 = 1;
pub const FILES: u32 = 2;
pub const SUBSCRIBE: u32 = 3;

/// The status of a server that fails.
pub const FAILED: i32 = 3;

/// What the processes of one test have in common.
pub struct Scene {
    pub name: String,
    pub gate: String,
    record: std::path::PathBuf,
}

impl Scene {
    pub fn new() -> Scene {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("msgpipe.start.{}.{number}", std::process::id());
        let record = std::env::temp_dir().join(format!("{name}.record"));
        std::fs::write(&record, "").unwrap();
        Scene { gate: format!("{name}.gate"), name, record }
    }

    /// The command of a role, with output that nobody sees.
    pub fn command(&self, role: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_process_plays_its_role", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, role).env(NAME, &self.name).env(RECORD, &self.record);
        command.env(GATE, &self.gate);
        command
    }

    /// The options of a client that starts a server of this kind.
    pub fn starting(&self, role: &str) -> ClientOptions {
        ClientOptions::new().limits(patient()).start_with(self.command(role))
    }

    /// What the servers have noted: a word each.
    pub fn noted(&self) -> Vec<String> {
        let record = std::fs::read_to_string(&self.record).unwrap();
        record.lines().map(str::to_owned).collect()
    }

    pub fn noted_so(&self, word: &str) -> usize {
        self.noted().iter().filter(|noted| *noted == word).count()
    }

    /// Connects, and starts a server of this kind if there is none.
    pub fn connect(&self, role: &str) -> Result<Client, Error> {
        connect(&self.starting(role), &self.name)
    }

    /// Stops the server, and waits until its name is free.
    pub fn stop(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            match Client::connect(self.name.as_str()) {
                Err(Error::NoServer { .. }) => return,
                Ok(client) => drop(client.with_method(STOP).call("")),
                Err(_) => {}
            }
            assert!(Instant::now() < until || thread::panicking(), "{} is served", self.name);
            thread::yield_now();
        }
    }

    /// Starts a process that says lines and takes orders.
    pub fn talker(&self, role: &str) -> Talker {
        let mut command = self.command(role);
        Talker::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_file(&self.record);
        // Of a server that was killed.
        let socket = msgpipe::Endpoint::name(&self.name).unwrap().locate().unwrap();
        let _ = std::fs::remove_file(&socket);
        let lock = format!(".{}.sock.msgpipe-lock", self.name);
        let _ = std::fs::remove_file(socket.with_file_name(lock));
    }
}

/// A process that says lines and takes orders.
pub struct Talker {
    pub process: Child,
    orders: Option<ChildStdin>,
    said: Lines<BufReader<ChildStdout>>,
}

impl Talker {
    pub fn start(command: &mut Command) -> Talker {
        let mut started = command.spawn();
        for _ in 0..3 {
            if started.as_ref().is_err_and(is_lost) {
                started = command.spawn();
            }
        }
        let mut process = started.unwrap();
        let orders = process.stdin.take();
        let said = BufReader::new(process.stdout.take().unwrap()).lines();
        Talker { process, orders, said }
    }

    pub fn order(&mut self, order: &str) {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
    }

    #[track_caller]
    pub fn says(&mut self) -> String {
        let mut said = self.said.by_ref().map_while(Result::ok);
        let line = said.find_map(|line| Some(line.split_once(SAYS)?.1.to_owned()));
        line.expect("the process has ended")
    }

    /// Reads to the end of its output.
    pub fn rest(&mut self) -> usize {
        self.said.by_ref().count()
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Connects. Under Wine starting a process sometimes fails (ERROR_INTERNAL_ERROR): then it is tried again.
pub fn connect(options: &ClientOptions, name: &str) -> Result<Client, Error> {
    for _ in 0..3 {
        match options.connect(name) {
            Err(Error::NotStarted { problem: StartError::NotRun { cause, .. }, .. })
                if is_lost(&cause) => {}
            connected => return connected,
        }
    }
    options.connect(name)
}

fn is_lost(error: &std::io::Error) -> bool {
    cfg!(windows) && error.raw_os_error() == Some(1359)
}

/// Limits with which only a hanging test ends with an error.
pub fn patient() -> Limits {
    Limits::new().with_start(PATIENCE).with_call(PATIENCE).with_connect(PATIENCE)
}

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
        "server that writes 10 MiB" => {
            write_much();
            serve(&name);
        }
        "server of one call" => {
            let server = Server::bind(name.as_str()).unwrap();
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
        "server that dies" => serve_until_told_to_die(&name),
        "server of news" => serve_news(&name),
        "fails" => {
            for number in 1..=20 {
                eprintln!("reason {number}");
            }
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
        "client" => follow_orders(patient()),
        "client of a server behind a gate" => follow_orders_of("server behind a gate", patient()),
        // It waits for a lock for a second.
        "impatient client" => follow_orders(patient().with_start(Duration::from_secs(2))),
        "client that starts again and again" => {
            let things = || {
                let count = |of| std::fs::read_dir(of).map_or(0, Iterator::count);
                (count("/proc/self/fd"), count("/proc/self/task"))
            };
            let restart = || {
                let client = client_of("server", &name, patient()).unwrap();
                drop(client.with_method(STOP).call(""));
                while !matches!(Client::connect(name.as_str()), Err(Error::NoServer { .. })) {
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
        "client that stays" => {
            let _client = client_of("server", &name, patient()).unwrap();
            say("connected");
            thread::park();
        }
        role => panic!("no role {role:?}"),
    }
    exit(0);
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

/// A client of the same kind as in the test, in another process. Its server's environment is this one's.
fn client_of(role: &str, name: &str, limits: Limits) -> Result<Client, Error> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_process_plays_its_role", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(NAME, name);
    connect(&ClientOptions::new().limits(limits).start_with(command), name)
}

/// Connects to each name of its input, and says the number of the process that serves it.
fn follow_orders(limits: Limits) {
    follow_orders_of("server", limits);
}

fn follow_orders_of(role: &str, limits: Limits) {
    say("ready");
    for order in std::io::stdin().lines().map_while(Result::ok) {
        let served =
            client_of(role, &order, limits.clone()).and_then(|client| client.call("who serves?"));
        match served {
            Ok(pid) => say(&String::from_utf8_lossy(&pid)),
            Err(error) => say(&format!("failed: {error}")),
        }
    }
}
