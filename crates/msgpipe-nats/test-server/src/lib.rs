//! A real `nats-server` for tests: on a free port of 127.0.0.1, in a directory of its own, ended on drop.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use tempfile::TempDir;

/// A directory of a test's own, removed with the value.
pub fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory for the test")
}

/// An engine that can be killed and started again at the same address.
pub struct NatsServer {
    directory: TempDir,
    max_payload: usize,
    port: u16,
    process: Option<Child>,
}

impl NatsServer {
    /// Starts one with the engine's default limit of a message.
    pub fn start() -> NatsServer {
        NatsServer::with_max_payload(1024 * 1024)
    }

    /// Starts one that takes messages up to this many bytes, with their headers.
    pub fn with_max_payload(max_payload: usize) -> NatsServer {
        let mut server = NatsServer { directory: directory(), max_payload, port: 0, process: None };
        server.restart();
        server
    }

    /// Its address for clients.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Kills it, with no time to say goodbye.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("nats-server can be killed");
            process.wait().expect("nats-server has ended");
        }
    }

    /// Starts it again at the same address, and returns when it is ready.
    pub fn restart(&mut self) {
        self.kill();
        let config = self.directory.path().join("nats.conf");
        // -1: a free port.
        let port = if self.port == 0 { -1 } else { i32::from(self.port) };
        let text = format!("listen: \"127.0.0.1:{port}\"\nmax_payload: {}\n", self.max_payload);
        fs::write(&config, text).expect("the configuration can be written");
        let mut process = Command::new("nats-server")
            .arg("-c")
            .arg(&config)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nats-server is installed: apt-get install nats-server");
        let log = process.stderr.take().expect("its standard error is a pipe");
        self.process = Some(process);
        let mut lines = BufReader::new(log).lines();
        let mut seen = String::new();
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("nats-server has ended:\n{seen}"));
            let line = line.expect("its log can be read");
            const LISTENS: &str = "Listening for client connections on 127.0.0.1:";
            if let Some((_, port)) = line.split_once(LISTENS) {
                self.port = port.trim().parse().expect("a port");
            }
            if line.contains("Server is ready") {
                break;
            }
            seen += &line;
            seen.push('\n');
        }
        thread::spawn(move || lines.for_each(drop)); // else it would block on a full pipe
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
