//! A command for each request.

use msgpipe::{ErrorReply, Interrupt, Request, Responder};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The code of the error reply when the command fails.
const COMMAND_FAILED: u16 = 100;

/// How much of the command's standard error is in the error reply: its end.
const ERRORS_KEPT: usize = 2048;

/// How long what the command has written is waited for after its end: a process that it has started may hold its output
/// open.
const REST: Duration = Duration::from_secs(1);

/// The pauses between two looks whether it has ended.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// Runs the command, and replies with what it prints. It is killed when nobody waits for the reply any more.
pub fn run(
    program: &OsStr,
    arguments: &[OsString],
    request: Request,
    responder: Responder,
    limit: usize,
) {
    let mut command = Command::new(program);
    command.args(arguments).env("MSGPIPE_METHOD", request.method().to_string());
    if let Some(pid) = request.peer().pid {
        command.env("MSGPIPE_PEER_PID", pid.to_string());
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    alone(&mut command);
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let text = format!("starting {}: {error}", program.to_string_lossy());
            return responder.reply(Err::<Vec<u8>, _>(ErrorReply::new(COMMAND_FAILED, text)));
        }
    };
    let (child, output) = Running::new(child, request.into_body().to_vec(), limit);
    let killed = child.clone();
    responder.on_interrupt(move |why| {
        // A server that stops still sends the reply, while it drains.
        if why != Interrupt::Stopping {
            killed.kill();
        }
    });
    let answer = child.wait(&output);
    responder.reply(answer);
}

/// A command, for the thread that waits and for the one that kills.
#[derive(Clone)]
struct Running(Arc<Mutex<Child>>);

/// What it prints: from threads of their own, since all of it has to be read at once.
struct Output {
    replies: Receiver<io::Result<Vec<u8>>>,
    errors: Receiver<Vec<u8>>,
}

impl Running {
    fn new(mut child: Child, body: Vec<u8>, limit: usize) -> (Running, Output) {
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let running = Running(Arc::new(Mutex::new(child)));
        thread::spawn(move || {
            // It need not read what was asked.
            stdin.map(|mut stdin| stdin.write_all(&body))
        });
        let ((reply, replies), (error, errors)) = (mpsc::channel(), mpsc::channel());
        let child = running.clone();
        thread::spawn(move || {
            let read = stdout.map_or(Ok(Vec::new()), |stdout| read_reply(stdout, limit));
            if read.is_err() {
                child.kill();
            }
            let _ = reply.send(read);
        });
        thread::spawn(move || error.send(stderr.map(read_end).unwrap_or_default()));
        (running, Output { replies, errors })
    }

    fn lock(&self) -> MutexGuard<'_, Child> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills it, with what it has started where the system can. Does nothing if it has ended.
    fn kill(&self) {
        let mut child = self.lock();
        if matches!(child.try_wait(), Ok(None)) {
            kill_all(&mut child);
        }
    }

    /// Waits for its end, and returns what it has printed.
    fn wait(&self, output: &Output) -> Result<Vec<u8>, ErrorReply> {
        let failed = |text: String| ErrorReply::new(COMMAND_FAILED, text);
        let (mut pause, longest) = PAUSES;
        // Nothing is held while it waits: it may be killed.
        let status = loop {
            match self.lock().try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => {}
                Err(error) => return Err(failed(format!("waiting for the command: {error}"))),
            }
            thread::sleep(pause);
            pause = (pause * 2).min(longest);
        };
        let until = Instant::now() + REST;
        let left = || until.saturating_duration_since(Instant::now());
        let reply = output.replies.recv_timeout(left());
        if let Ok(Err(error)) = &reply {
            // It was killed for that.
            return Err(failed(format!("reading its output: {error}")));
        }
        if !status.success() {
            let errors = output.errors.recv_timeout(left()).unwrap_or_default();
            let errors = String::from_utf8_lossy(&errors);
            return Err(failed(format!("the command ended ({status}): {}", errors.trim_end())));
        }
        match reply {
            Ok(reply) => reply.map_err(|error| failed(format!("reading its output: {error}"))),
            Err(_) => Err(failed("the command has ended, but its output has not".to_owned())),
        }
    }
}

fn read_reply(mut stdout: impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stdout.by_ref().take(limit as u64 + 1).read_to_end(&mut bytes)?;
    match bytes.len() > limit {
        true => Err(io::Error::other(format!("it prints more than {limit} bytes"))),
        false => Ok(bytes),
    }
}

/// The end of what it prints.
fn read_end(mut stderr: impl Read) -> Vec<u8> {
    let (mut end, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stderr.read(&mut buffer) {
        end.extend_from_slice(&buffer[..read]);
        let over = end.len().saturating_sub(ERRORS_KEPT);
        end.drain(..over);
    }
    end
}

/// In a group of its own, so that all of it can be killed, and so that Ctrl-C is the server's.
#[cfg(unix)]
fn alone(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

#[cfg(not(unix))]
fn alone(_: &mut Command) {}

#[cfg(unix)]
fn kill_all(child: &mut Child) {
    use rustix::process::{Pid, Signal, kill_process_group};
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    // It fails only if all have ended.
    let _ = group.map(|group| kill_process_group(group, Signal::KILL));
    let _ = child.kill();
}

#[cfg(not(unix))]
fn kill_all(child: &mut Child) {
    let _ = child.kill();
}
