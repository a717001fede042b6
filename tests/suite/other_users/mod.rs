//! Two real users: access, trust, and files of other users at a server's path.
//!
//! Only root can be somebody else. Run by root, as the gate does, this test program starts itself
//! again as another user and plays a part as them; run by anybody else, the tests go as far as one
//! user goes, and say so. The users need not be known to the system: a number is enough.

mod access;
mod hook;
mod names;
mod namespaces;
mod parts;
mod places;
mod seats;
mod trust;

use crate::common::raw::{frame, preface};
use crate::common::{PATIENCE, Scratch, next, unique_name};
use msgpipe::framing::Layer;
use msgpipe::{
    Access, ClientOptions, Endpoint, Error, Event, LocalServer, MessageServer, ServerOptions,
    Trust, Waker,
};
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};

/// The command of the other process, and its place.
const PART: &str = "MSGPIPE_TEST_PART";
const PLACE: &str = "MSGPIPE_TEST_PLACE";

/// The prefix of each of its lines.
const SAYS: &str = "it says: ";

/// What a peer sends that knows nothing of this crate's clients: a message in the crate's framing.
fn first_words() -> Vec<u8> {
    [preface(Layer::Messages), frame(b"let me in")].concat()
}

/// A user of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
    /// The supplementary groups.
    groups: &'static [u32],
}

const ANNA: User = User { uid: 60_001, gid: 60_011, groups: &[] };
const BERT: User = User { uid: 60_002, gid: 60_012, groups: &[] };

/// The user who runs the tests.
fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn own() -> User {
    User { uid: own_uid(), gid: rustix::process::getegid().as_raw(), groups: &[] }
}

/// Whether there can be others. The rest of a test needs them.
fn there_are_others() -> bool {
    let root = own_uid() == 0;
    if !root {
        println!("only root can be another user: the rest of this test was left out");
    }
    root
}

/// A part that another process plays. Dropping it kills that process.
struct Playing {
    process: Child,
    said: Lines<BufReader<ChildStdout>>,
    /// The program to run.
    _program: Arc<Program>,
}

impl User {
    /// Plays a part as this user.
    fn plays(self, part: &str, place: &str) -> Playing {
        self.plays_with(part, place, &[])
    }

    fn plays_with(self, part: &str, place: &str, env: &[(&str, &str)]) -> Playing {
        let program = program_for_all();
        let command = if self.groups.is_empty() {
            let mut command = Command::new(&program.file);
            // Not needed for the same user, and not permitted to every user.
            if self.uid != own_uid() {
                command.uid(self.uid).gid(self.gid);
            }
            command
        } else {
            let mut command = Command::new("setpriv");
            let groups: Vec<String> = self.groups.iter().map(u32::to_string).collect();
            command.arg(format!("--reuid={}", self.uid)).arg(format!("--regid={}", self.gid));
            command.arg(format!("--groups={}", groups.join(","))).arg("--").arg(&program.file);
            command
        };
        play_in(command, program, part, place, env)
    }
}

impl User {
    /// Plays a part started by this user and acting as another, as a program with the set-user-ID bit.
    fn plays_acting_as(self, acting: User, part: &str, place: &str) -> Playing {
        let program = program_for_all();
        let mut command = Command::new("setpriv");
        command.arg(format!("--ruid={}", self.uid)).arg(format!("--euid={}", acting.uid));
        command.arg(format!("--regid={}", acting.gid)).args(["--clear-groups", "--"]);
        command.arg(&program.file);
        play_in(command, program, part, place, &[])
    }
}

/// Starts a part by a command to which nothing is missing but what it is to play.
fn play_in(
    mut command: Command,
    program: Arc<Program>,
    part: &str,
    place: &str,
    env: &[(&str, &str)],
) -> Playing {
    let mut process = command
        .args(["--exact", "other_users::parts::another_process_plays_its_role"])
        .arg("--nocapture")
        .current_dir("/")
        .envs(env.iter().copied())
        .env(PART, part)
        .env(PLACE, place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(process.stdout.take().unwrap()).lines();
    Playing { process, said, _program: program }
}

impl Playing {
    fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its next line.
    #[track_caller]
    fn says(&mut self) -> String {
        let mut said = self.said.by_ref().map_while(Result::ok);
        let line = said.find_map(|line| Some(line.split_once(SAYS)?.1.to_owned()));
        line.expect("it ended without a word")
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        let _ = self.process.kill();
        self.process.wait().unwrap();
    }
}

/// A copy of this program where every user can get at it.
struct Program {
    file: PathBuf,
    _directory: Scratch,
}

/// The copy, shared by concurrent tests; the last one removes it.
fn program_for_all() -> Arc<Program> {
    static COPY: Mutex<Weak<Program>> = Mutex::new(Weak::new());
    let mut copy = COPY.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(program) = copy.upgrade() {
        return program;
    }
    let directory = Scratch::with_mode(0o755);
    let file = directory.path("suite");
    // By another process: a file that any process may still have open for writing, as one that was
    // just forked here would, cannot be run.
    let mut install = Command::new("install");
    install.args(["-m", "755"]).arg(std::env::current_exe().unwrap()).arg(&file);
    assert!(install.status().unwrap().success());
    let program = Arc::new(Program { file, _directory: directory });
    *copy = Arc::downgrade(&program);
    program
}

/// A place as the roles receive it.
fn endpoint_of(place: &str) -> Endpoint {
    match place.split_once(':') {
        Some(("path", path)) => Endpoint::path(path).unwrap(),
        Some(("abstract", name)) => Endpoint::abstract_name(name).unwrap(),
        Some(("name", name)) => Endpoint::name(name).unwrap(),
        _ => panic!("no place: {place}"),
    }
}

fn at_path(path: &Path) -> String {
    format!("path:{}", path.display())
}

fn at_abstract_name() -> String {
    format!("abstract:{}", unique_name())
}

/// A server that echoes messages, and records the users of all connections.
struct Serving {
    thread: Option<JoinHandle<Vec<u32>>>,
    waker: Waker,
}

impl Serving {
    fn start(place: &str, options: &ServerOptions) -> Result<Serving, Error> {
        let mut server = options.bind_messages(endpoint_of(place))?;
        let waker = server.waker();
        Ok(Serving { thread: Some(thread::spawn(move || echo(&mut server))), waker })
    }

    fn with_access(place: &str, access: &Access) -> Result<Serving, Error> {
        Serving::start(place, &ServerOptions::new().access(access.clone()))
    }

    /// Stops it; returns the users of its connections, in order.
    fn heard_of(mut self) -> Vec<u32> {
        self.waker.wake();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.waker.wake();
            assert!(thread.join().is_ok() || thread::panicking());
        }
    }
}

fn echo(server: &mut LocalServer) -> Vec<u32> {
    let mut users = Vec::new();
    loop {
        match next(server) {
            Event::Connected(id) => users.push(server.peer(id).unwrap().uid.unwrap()),
            // A disconnected client needs no reply.
            Event::Message(id, message) => drop(server.send(id, message)),
            Event::Woken => return users,
            _ => {}
        }
    }
}

/// Sends a message to the server at a place, and waits for the reply.
fn ask(place: &str, trust: Trust) -> Result<String, Error> {
    let client = ClientOptions::new().trust(trust).connect_messages(endpoint_of(place))?;
    client.send("hello")?;
    let answer = client.receive(Some(PATIENCE))?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
