//! The processes of a test: how they are started, what they say and note.

use msgpipe::{Client, ClientOptions, Error, Limits, StartError};
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A deadline that only a failing test reaches.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const ROLE: &str = "MSGPIPE_TEST_START_ROLE";
pub const NAME: &str = "MSGPIPE_TEST_START_NAME";
/// The file in which each server notes what became of it.
pub const RECORD: &str = "MSGPIPE_TEST_START_RECORD";
/// A server of the test, which some roles wait for.
pub const GATE: &str = "MSGPIPE_TEST_START_GATE";

/// The prefix of what a client says.
pub const SAYS: &str = "the role says: ";

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

    /// Waits until no server listens. One that dies may accept connections for a moment longer than it serves.
    pub fn wait_until_gone(&self) {
        let until = Instant::now() + PATIENCE;
        while !matches!(Client::connect(self.name.as_str()), Err(Error::NoServer { .. })) {
            assert!(Instant::now() < until, "{} is served", self.name);
            thread::yield_now();
        }
    }

    /// Stops the server, and waits until its name is free.
    pub fn stop(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let said = match Client::connect(self.name.as_str()) {
                Err(Error::NoServer { .. }) => return,
                Ok(client) => client.with_method(STOP).call(""),
                Err(error) => Err(error),
            };
            let is_late = Instant::now() >= until && !thread::panicking();
            assert!(!is_late, "{} is served, and says {said:?}", self.name);
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
        // Servers in other processes have noted something; those of the test itself have stopped.
        if !self.noted().is_empty() {
            self.stop();
        }
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
