//! The server process, which runs this same program, and its handle in the measuring process.
//!
//! The two processes communicate through the server's standard streams. The server prints a line when clients
//! can connect, replies to each line of its input with the memory it uses, and ends when its input ends.

use crate::echo::Side;
use crate::{ALLOCATOR, Failure, floor, machine};
use msgpipe::{Endpoint, Limits, Server};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The most connections of a measure.
pub const CONNECTIONS: usize = 20_000;

/// The line that a server process prints when clients can connect.
const READY: &str = "ready";

/// A request for which the handler uses the CPU for `WORK_TIME`.
pub const WORK: &str = "work, please";
pub const WORK_TIME: Duration = Duration::from_micros(500);

fn work() {
    let start = Instant::now();
    while start.elapsed() < WORK_TIME {
        std::hint::spin_loop();
    }
}

/// The task of a server process.
pub struct Task {
    pub side: Side,
    pub name: String,
    /// The CPU that the process is pinned to.
    pub cpu: Option<usize>,
}

impl Task {
    /// The first argument of a server process.
    pub const ARGUMENT: &'static str = "--serve";

    pub fn from_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Task, Failure> {
        let mut next = || arguments.next().ok_or("an argument of the server process is missing");
        let (side, name, cpu) = (next()?, next()?, next()?);
        let side = Side::BOTH.into_iter().find(|known| known.name() == side);
        Ok(Task {
            side: side.ok_or("no such side")?,
            name,
            cpu: if cpu == "any" { None } else { Some(cpu.parse()?) },
        })
    }

    fn arguments(&self) -> [String; 4] {
        let cpu = self.cpu.map_or("any".to_owned(), |cpu| cpu.to_string());
        let (side, name) = (self.side.name().to_owned(), self.name.clone());
        [Task::ARGUMENT.to_owned(), side, name, cpu]
    }
}

/// Serves until the input of this process ends.
pub fn serve(task: &Task) -> Result<(), Failure> {
    machine::allow_many_descriptors()?;
    if let Some(cpu) = task.cpu {
        machine::pin(cpu)?;
    }
    match task.side {
        Side::Bare => floor::serve(&task.name, || serve_parent(|| std::process::exit(0))),
        Side::Msgpipe => {
            let limits = Limits::new().with_connections(CONNECTIONS + 100);
            let server = Server::bind_with(Endpoint::name(&task.name)?, limits)?;
            let stopper = server.stopper();
            serve_parent(move || stopper.stop());
            Ok(server.serve(|request| {
                let body = request.body();
                if body == WORK {
                    work();
                }
                body
            })?)
        }
    }
}

/// Reports that clients can connect, and from now on replies to the measuring process. Calls `stop` when the
/// input ends.
fn serve_parent(stop: impl FnOnce() + Send + 'static) {
    println!("{READY}");
    std::thread::spawn(move || {
        for _ in std::io::stdin().lines().map_while(Result::ok) {
            println!("{} {}", ALLOCATOR.allocated(), machine::resident().unwrap_or_default());
        }
        stop();
    });
}

/// The memory that a server process uses, in bytes.
#[derive(Clone, Copy)]
pub struct Memory {
    pub heap: f64,
    pub resident: f64,
}

/// A running server process, which ends when this is dropped.
pub struct ServerProcess {
    task: Task,
    child: Child,
    /// `None` only while the process ends.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl ServerProcess {
    pub fn start(side: Side, cpu: Option<usize>) -> Result<ServerProcess, Failure> {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("msgpipe.bench.{}.{number}", std::process::id());
        let task = Task { side, name, cpu };
        let mut child = Command::new(std::env::current_exe()?)
            .args(task.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().ok_or("the server has no output")?);
        let mut server = ServerProcess { task, child, input, output };
        match server.line()?.as_str() {
            READY => Ok(server),
            _ => Err(format!("the {} server did not start", side.name()).into()),
        }
    }

    pub fn name(&self) -> &str {
        &self.task.name
    }

    /// The memory that the process uses now.
    pub fn memory(&mut self) -> Result<Memory, Failure> {
        let input = self.input.as_mut().ok_or("the server has no input")?;
        input.write_all(b"memory\n")?;
        input.flush()?;
        let line = self.line()?;
        let (heap, resident) = line.split_once(' ').ok_or("the server has ended")?;
        Ok(Memory { heap: heap.parse()?, resident: resident.parse()? })
    }

    fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.input.take());
        if let Err(error) = self.child.wait() {
            eprintln!("ipc: waiting for the server: {error}");
        }
        if self.task.side == Side::Bare {
            floor::clean_up(&self.task.name);
        }
    }
}
