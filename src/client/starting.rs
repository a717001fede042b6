//! A server that is being started.

use super::start::{How, Start};
use super::stderr_tail::last_lines;
use crate::backends::{StartLock, processes};
use crate::clock;
use crate::endpoint::Endpoint;
use crate::error::{Error, StartError};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The pause between two looks for the server. It doubles: a server that starts at once is found at once, and one that
/// takes seconds costs its clients little.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The start of a server, from when none was found until one serves. It can be left at any time and gone on with. Dropped,
/// it leaves a process that it has started to itself.
pub(crate) struct Starting {
    start: Start,
    endpoint: Endpoint,
    name: Arc<str>,
    given: Duration,
    /// From then on the lock is not waited for.
    patience: Instant,
    deadline: Instant,
    pause: Duration,
    lock: Option<StartLock>,
    run: Option<Run>,
}

/// What was run.
enum Run {
    Hook,
    Command(Process),
}

impl Starting {
    /// `name` is the endpoint as text, `given` the time until a server has to serve.
    pub fn new(start: &Start, endpoint: &Endpoint, name: Arc<str>, given: Duration) -> Starting {
        let now = clock::now();
        Starting {
            start: start.clone(),
            endpoint: endpoint.clone(),
            name,
            given,
            patience: now + given / 2,
            deadline: now + given,
            pause: FIRST_PAUSE,
            lock: None,
            run: None,
        }
    }

    /// Whether something was run that may become the server.
    pub fn has_run(&self) -> bool {
        self.run.is_some()
    }

    /// Goes on until a server serves, or the start has failed. `None`: neither is so at `until`.
    pub fn go_on<T>(
        &mut self,
        connect: &dyn Fn() -> Result<T, Error>,
        until: Instant,
    ) -> Option<Result<T, Error>> {
        loop {
            if self.run.is_none() && self.may_run() {
                // Another process may have started one meanwhile.
                match connect() {
                    Err(Error::NoServer { .. }) => {}
                    connected => return Some(connected),
                }
                if let Err(problem) = self.run() {
                    return Some(Err(self.failed(problem)));
                }
            }
            // Before the connect: what ends after it may have served until then.
            let ended = self.failure();
            match connect() {
                Err(Error::NoServer { .. }) => {}
                connected => return Some(connected),
            }
            if let Some(problem) = ended {
                return Some(Err(self.failed(problem)));
            }
            let now = clock::now();
            if now >= self.deadline {
                let problem = self.late();
                return Some(Err(self.failed(problem)));
            }
            if now >= until {
                return None;
            }
            thread::sleep(self.pause.min(until - now));
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether this client is the one that starts the server.
    fn may_run(&mut self) -> bool {
        match StartLock::take(&self.endpoint) {
            Ok(Some(lock)) => {
                self.lock = Some(lock);
                true
            }
            // Its holder may hang.
            Ok(None) => clock::now() >= self.patience,
            // The bind decides.
            Err(_) => true,
        }
    }

    fn run(&mut self) -> Result<(), StartError> {
        self.run = Some(match &self.start.how {
            How::Hook(hook) => {
                hook().map_err(|cause| StartError::Hook { cause })?;
                Run::Hook
            }
            How::Command(command) => Run::Command(Process::run(command, &self.start)?),
        });
        self.pause = FIRST_PAUSE;
        Ok(())
    }

    /// Why no server can be expected any more.
    fn failure(&mut self) -> Option<StartError> {
        let Some(Run::Command(process)) = &mut self.run else {
            return None;
        };
        let status = process.status().filter(|status| !status.success())?;
        let (program, stderr) = (process.program.clone(), process.stderr());
        Some(StartError::Ended { program, status, stderr })
    }

    /// The time is over. The process that was started for this is ended: each further start would leave another one.
    fn late(&mut self) -> StartError {
        let after = self.given;
        match &mut self.run {
            Some(Run::Command(process)) => StartError::Late {
                program: Some(process.program.clone()),
                after,
                has_ended: !process.end(),
                stderr: process.stderr(),
            },
            _ => StartError::Late { program: None, after, has_ended: true, stderr: Vec::new() },
        }
    }

    fn failed(&self, problem: StartError) -> Error {
        Error::NotStarted { endpoint: self.name.clone(), problem }
    }
}

/// A process that was started to serve.
struct Process {
    program: String,
    /// `None`: it has ended, or is left to itself.
    child: Option<Child>,
    status: Option<ExitStatus>,
    /// What it writes to standard error, and where its own part begins. `None`: there is no place for it.
    written: Option<(File, u64)>,
}

impl Process {
    fn run(command: &Mutex<Command>, start: &Start) -> Result<Process, StartError> {
        let mut command = command.lock().unwrap_or_else(PoisonError::into_inner);
        let program = command.get_program().to_string_lossy().into_owned();
        let written = match &start.log {
            Some(log) => {
                let mut options = OpenOptions::new();
                let opened = options.read(true).append(true).create(true).open(log);
                let ended = opened.and_then(|mut file| {
                    let from = file.seek(SeekFrom::End(0))?;
                    Ok((file, from))
                });
                Some(ended.map_err(|cause| StartError::Log { path: log.clone(), cause })?)
            }
            // Without a place for its lines it is started all the same.
            None => processes::nameless_file().ok().map(|file| (file, 0)),
        };
        let theirs = written.as_ref().and_then(|(file, _)| file.try_clone().ok());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(theirs.map_or_else(Stdio::null, Stdio::from));
        let spawned = processes::spawn(&mut command);
        // The command would keep the file open.
        command.stderr(Stdio::null());
        let child = Some(spawned.map_err(|error| not_run(&command, error))?);
        Ok(Process { program, child, status: None, written })
    }

    /// How it has ended, if it has.
    fn status(&mut self) -> Option<ExitStatus> {
        match self.child.as_mut().map(Child::try_wait) {
            None | Some(Ok(None)) => {}
            // It is no child any more: the application has waited for it, or has the system drop how children end. So the
            // status is not known, and the number may be another process's.
            Some(Err(_)) => self.child = None,
            Some(Ok(status)) => (self.status, self.child) = (status, None),
        }
        self.status
    }

    /// Ends it, if it runs.
    fn end(&mut self) -> bool {
        self.status();
        self.child.take().map(processes::end).is_some()
    }

    fn stderr(&self) -> Vec<String> {
        self.written.as_ref().map_or_else(Vec::new, |(file, from)| last_lines(file, *from))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            processes::leave(child);
        }
    }
}

/// Why a command was not run. The system's error is the same for its program and its working directory.
fn not_run(command: &Command, cause: io::Error) -> StartError {
    if let Some(path) = command.get_current_dir() {
        // This fails also if the directory may not be entered.
        if let Err(cause) = path.join(".").metadata() {
            return StartError::Directory { path: path.to_owned(), cause };
        }
    }
    StartError::NotRun { program: command.get_program().to_string_lossy().into_owned(), cause }
}
