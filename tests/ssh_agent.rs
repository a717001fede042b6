//! OpenSSH's own clients with the agent in `examples/ssh_agent/`.
#![cfg(target_os = "linux")]

use ed25519_compact::{KeyPair, Seed, Signature};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// A deadline that only a failing test reaches.
const PATIENCE: Duration = Duration::from_secs(60);

/// A deadline that only a hanging test reaches.
#[track_caller]
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(PATIENCE).expect("it hangs, or panicked")
}

/// The example as a process with a separate directory. Both end with the test.
struct Agent {
    process: Child,
    directory: PathBuf,
}

impl Agent {
    fn start(test: &str) -> Agent {
        let name = format!("msgpipe-ssh-{}-{test}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        let log = File::create(directory.join("log")).unwrap();
        // Not absolute: that is what the agent must make of it.
        let mut command = Command::new(example());
        command.arg("socket").current_dir(&directory).stdin(Stdio::null());
        let process = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut agent = Agent { process, directory };
        let mut output = BufReader::new(agent.process.stdout.take().unwrap());
        let line = in_time(move || {
            let mut line = String::new();
            output.read_line(&mut line).map(|_| line)
        });
        let ready = format!("SSH_AUTH_SOCK={}\n", agent.path("socket").display());
        assert_eq!(line.unwrap(), ready, "{}", fs::read_to_string(agent.path("log")).unwrap());
        agent
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    /// Runs a program of OpenSSH's with this agent, in its directory.
    #[track_caller]
    fn run(&self, program: &str, arguments: &[&str], input: Option<&str>) -> Ended {
        let input = input.map_or(Stdio::null(), |file| File::open(self.path(file)).unwrap().into());
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.directory).stdin(input);
        command.env("SSH_AUTH_SOCK", self.path("socket")).env("SSH_ASKPASS_REQUIRE", "never");
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.unwrap_or_else(|error| {
            panic!(
                "{program} does not start ({error}): this test needs the client of OpenSSH, \
                 on Debian the package openssh-client"
            )
        });
        let output: Output = in_time(|| child.wait_with_output()).unwrap();
        let said = [output.stdout, output.stderr].concat();
        Ended { status: output.status.code(), said: String::from_utf8(said).unwrap() }
    }

    #[track_caller]
    fn ssh_add(&self, arguments: &[&str]) -> Ended {
        self.run("ssh-add", arguments, None)
    }

    /// Makes a key of this kind in a file of this name, which also becomes its comment.
    #[track_caller]
    fn make_key(&self, kind: &str, name: &str) {
        let arguments = ["-q", "-t", kind, "-N", "", "-C", name, "-f", name];
        self.run("ssh-keygen", &arguments, None).succeeded();
    }

    /// The agent's keys by `ssh-add`: the lines of the public key files.
    #[track_caller]
    fn has(&self, keys: &[&str]) {
        let listed = self.ssh_add(&["-L"]);
        if keys.is_empty() {
            return listed.failed("The agent has no identities.");
        }
        let file = |key| fs::read_to_string(self.path(&format!("{key}.pub"))).unwrap();
        assert_eq!(listed.succeeded(), keys.iter().map(file).collect::<String>());
    }

    /// A client that writes whatever it likes.
    fn connect(&self) -> UnixStream {
        let socket = UnixStream::connect(self.path("socket")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        fs::remove_dir_all(&self.directory).unwrap();
    }
}

/// `cargo test` builds the examples next to the tests.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let example = test.ancestors().nth(2).map(|target| target.join("examples/ssh_agent")).unwrap();
    assert!(
        example.exists(),
        "no {}: for this test alone, run `cargo build --example ssh_agent` first",
        example.display()
    );
    example
}

/// How a program ended.
#[derive(Debug)]
struct Ended {
    status: Option<i32>,
    said: String,
}

impl Ended {
    #[track_caller]
    fn succeeded(self) -> String {
        assert_eq!(self.status, Some(0), "{self:?}");
        self.said
    }

    #[track_caller]
    fn failed(self, why: &str) {
        assert!(self.status != Some(0) && self.said.contains(why), "{why} is not in {self:?}");
    }
}

#[test]
fn openssh_adds_lists_uses_and_deletes_a_key() {
    let agent = Agent::start("one");
    agent.has(&[]);
    agent.make_key("ed25519", "key");
    agent.ssh_add(&["key"]).succeeded();
    agent.has(&["key"]);
    let fingerprint = agent.run("ssh-keygen", &["-l", "-f", "key.pub"], None).succeeded();
    assert_eq!(agent.ssh_add(&["-l"]).succeeded(), fingerprint);

    // From here on the agent alone has the secret key.
    fs::rename(agent.path("key"), agent.path("away")).unwrap();
    fs::write(agent.path("text"), "signed").unwrap();
    fs::write(agent.path("other"), "not signed").unwrap();
    let sign = ["-Y", "sign", "-f", "key.pub", "-n", "file", "text"];
    agent.run("ssh-keygen", &sign, None).succeeded();
    let check = ["-Y", "check-novalidate", "-n", "file", "-s", "text.sig"];
    let good = agent.run("ssh-keygen", &check, Some("text")).succeeded();
    assert!(good.starts_with("Good \"file\" signature with ED25519 key"), "{good}");
    agent.run("ssh-keygen", &check, Some("other")).failed("incorrect signature");

    agent.ssh_add(&["-d", "key.pub"]).succeeded();
    agent.has(&[]);
    fs::remove_file(agent.path("text.sig")).unwrap();
    agent.run("ssh-keygen", &sign, None).failed("No private key found");
    agent.ssh_add(&["-d", "key.pub"]).failed("agent refused operation");
}

#[test]
fn openssh_deletes_all_keys() {
    let agent = Agent::start("all");
    for key in ["first", "second", "third"] {
        agent.make_key("ed25519", key);
        agent.ssh_add(&[key]).succeeded();
    }
    agent.has(&["first", "second", "third"]);
    agent.ssh_add(&["-d", "second.pub"]).succeeded();
    agent.has(&["first", "third"]);
    agent.ssh_add(&["-D"]).succeeded();
    agent.has(&[]);
}

#[test]
fn an_unsupported_key_is_refused() {
    let agent = Agent::start("refused");
    agent.make_key("ecdsa", "other");
    agent.make_key("ed25519", "key");
    for arguments in [&["other"][..], &["-t", "60", "key"], &["-c", "key"]] {
        agent.ssh_add(arguments).failed("agent refused operation");
        agent.has(&[]);
    }
    // The same key twice is one key.
    agent.ssh_add(&["key"]).succeeded();
    agent.ssh_add(&["key"]).succeeded();
    agent.has(&["key"]);
}

const FAILED: &[u8] = &[5];
const SUCCEEDED: &[u8] = &[6];
const LIST: &[u8] = &[11];
const NO_KEYS: &[u8] = &[12, 0, 0, 0, 0];

fn framed(request: &[u8]) -> Vec<u8> {
    [&(request.len() as u32).to_be_bytes(), request].concat()
}

/// A message: its number, then these strings.
fn strings(number: u8, strings: &[&[u8]]) -> Vec<u8> {
    let strings: Vec<u8> = strings.iter().flat_map(|string| framed(string)).collect();
    [&[number], &strings[..]].concat()
}

fn blob(key: &KeyPair) -> Vec<u8> {
    strings(0, &[b"ssh-ed25519", &key.pk[..]]).split_off(1)
}

fn add(key: &KeyPair, comment: &[u8]) -> Vec<u8> {
    strings(17, &[b"ssh-ed25519", &key.pk[..], &key.sk[..], comment])
}

fn sign(key: &KeyPair, data: &[u8], flags: u32) -> Vec<u8> {
    [&strings(13, &[&blob(key), data])[..], &flags.to_be_bytes()].concat()
}

fn key(number: u8) -> KeyPair {
    KeyPair::from_seed(Seed::new([number; 32]))
}

fn answer(socket: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    socket.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    socket.read_exact(&mut answer).unwrap();
    answer
}

#[track_caller]
fn ask(socket: &mut UnixStream, request: &[u8]) -> Vec<u8> {
    socket.write_all(&framed(request)).unwrap();
    answer(socket)
}

#[test]
fn a_bad_request_is_a_failure_and_changes_nothing() {
    let agent = Agent::start("bad");
    let mut socket = agent.connect();
    assert_eq!(ask(&mut socket, &add(&key(1), b"kept")), SUCCEEDED);
    let before = ask(&mut socket, LIST);

    let (one, two) = (key(1), key(2));
    let requests =
        [add(&two, b"comment"), sign(&one, b"data", 0), strings(18, &[&blob(&one)]), vec![19]];
    let mut bad: Vec<Vec<u8>> = Vec::new();
    for request in &requests {
        bad.extend((0..request.len()).map(|end| request[..end].to_vec()));
        bad.push([&request[..], &[0]].concat());
    }
    // A length past the end: the largest one, and by one.
    for length in [u32::MAX, 12] {
        bad.push([&[17], &length.to_be_bytes()[..], b"ssh-ed25519"].concat());
    }
    let mixed = strings(17, &[b"ssh-ed25519", &two.pk[..], &one.sk[..], b""]);
    let forged = [&one.sk[..32], &two.pk[..]].concat();
    let forged = strings(17, &[b"ssh-ed25519", &two.pk[..], &forged, b""]);
    let zeros = strings(17, &[b"ssh-ed25519", &[0; 32], &[0; 64], b""]);
    bad.extend([mixed, forged, zeros, sign(&one, b"", 2), sign(&two, b"", 0), vec![27], vec![255]]);
    // An empty list of constraints is none.
    let mut constrained = add(&two, b"comment");
    constrained[0] = 25;
    bad.push([&constrained[..], &[1, 0, 0, 0, 60]].concat());

    // All at once: each has its answer, in order.
    let stream: Vec<u8> = bad.iter().flat_map(|request| framed(request)).collect();
    let mut writer = socket.try_clone().unwrap();
    let writing = thread::spawn(move || writer.write_all(&stream).unwrap());
    for request in &bad {
        assert_eq!(answer(&mut socket), FAILED, "{request:02x?}");
    }
    writing.join().unwrap();
    assert_eq!(ask(&mut socket, LIST), before);
    assert_eq!(ask(&mut socket, &constrained), SUCCEEDED);

    let signed = ask(&mut socket, &sign(&one, b"data", 0));
    let (head, signature) = signed.split_at(signed.len() - 64);
    assert_eq!(head, b"\x0e\0\0\0\x53\0\0\0\x0bssh-ed25519\0\0\0\x40");
    one.pk.verify(b"data", &Signature::from_slice(signature).unwrap()).unwrap();
}

#[test]
fn garbage_affects_no_other_connection() {
    let agent = Agent::start("garbage");
    let mut witness = agent.connect();
    assert_eq!(ask(&mut witness, LIST), NO_KEYS);
    let over_the_limit = (256 * 1024 + 1_u32).to_be_bytes();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xFF; 5000], &over_the_limit] {
        let mut socket = agent.connect();
        // The agent may have closed before all was written, or with bytes unread.
        let _ = socket.write_all(garbage);
        assert!(matches!(socket.read(&mut [0]), Ok(0) | Err(_)), "an answer to garbage");
        assert_eq!(ask(&mut witness, LIST), NO_KEYS);
    }
    // One leaves in the middle of a request, one stays there.
    let unfinished = &framed(&add(&key(1), b"never"))[..100];
    agent.connect().write_all(unfinished).unwrap();
    let mut slow = agent.connect();
    slow.write_all(unfinished).unwrap();
    assert_eq!(ask(&mut witness, LIST), NO_KEYS);
    agent.has(&[]);
}

#[test]
fn the_limits_of_keys_and_comments_are_exact() {
    let agent = Agent::start("limits");
    let mut socket = agent.connect();
    for (length, expected) in [(1023, SUCCEEDED), (1024, SUCCEEDED), (1025, FAILED)] {
        assert_eq!(ask(&mut socket, &add(&key(1), &vec![b'c'; length])), expected, "{length}");
    }
    for number in 2..=129 {
        let expected = if number <= 128 { SUCCEEDED } else { FAILED };
        assert_eq!(ask(&mut socket, &add(&key(number), &[b'c'; 1024])), expected, "{number}");
    }
    // A known key may be added again. All of them fit into one reply.
    assert_eq!(ask(&mut socket, &add(&key(128), &[b'c'; 1024])), SUCCEEDED);
    let list = ask(&mut socket, LIST);
    assert_eq!((&list[..5], list.len()), (&[12, 0, 0, 0, 128][..], 5 + 128 * (4 + 51 + 4 + 1024)));
}
