//! The server process: this program, started again by itself, and the handle by which the measuring
//! process holds it.
//!
//! They talk over the server's standard streams: it says when clients may come, answers each line
//! it gets with the memory it uses, and ends when its input ends.

use crate::echo::Side;
use crate::{ALLOCATOR, Failure, floor, machine};
use msgpipe::{Endpoint, Server};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What a server process says when clients may come.
const READY: &str = "ready";

/// A request that takes the handler so long.
pub const WORK: &str = "work, please";
pub const WORKS: Duration = Duration::from_micros(500);

fn work() {
    let start = Instant::now();
    while start.elapsed() < WORKS {
        std::hint::spin_loop();
    }
}

/// What a server process is to do.
pub struct Task {
    pub side: Side,
    pub name: String,
    /// The CPU that it keeps to.
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

/// Serves until this process's input ends.
pub fn serve(task: &Task) -> Result<(), Failure> {
    machine::allow_many_descriptors()?;
    if let Some(cpu) = task.cpu {
        machine::pin(cpu)?;
    }
    match task.side {
        Side::Bare => floor::serve(&task.name, || attend(|| std::process::exit(0))),
        Side::Msgpipe => {
            let server = Server::bind(Endpoint::name(&task.name)?)?;
            let stopper = server.stopper();
            attend(move || stopper.stop());
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

/// Says that clients may come, and answers the other process from now on.
fn attend(stop: impl FnOnce() + Send + 'static) {
    println!("{READY}");
    std::thread::spawn(move || {
        for _ in std::io::stdin().lines().map_while(Result::ok) {
            println!("{} {}", ALLOCATOR.allocated(), machine::resident().unwrap_or_default());
        }
        stop();
    });
}

/// What a server process uses, in bytes.
#[derive(Clone, Copy)]
pub struct Memory {
    pub heap: f64,
    pub resident: f64,
}

/// A server process that runs; it ends with this.
pub struct ServerProcess {
    task: Task,
    child: Child,
    /// `None` only while it ends.
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

    /// What it uses now.
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
