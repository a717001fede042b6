//! How the command ends: what it says, and its exit status.

use msgpipe::Error;
use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// What `msgpipe --help` says about the exit status.
pub const STATUS: &str = "\
Exit status:
  0  all went well; or who read the output wants no more of it, and has closed it
  1  the server replied with an error, or a check found something
  2  the command line is wrong
  3  no server is there, or it cannot be trusted or reached
  4  the time was over
  5  the connection broke, or something else failed
130  bench or doctor was interrupted with Ctrl-C, or asked to end";

/// Why the command ends without success.
#[derive(Debug)]
pub enum Exit {
    /// An error of the library.
    Failed(Box<Error>),
    /// A check found something, which has been said.
    Found,
    /// The command line asks for what cannot be done.
    Usage(String),
    /// The time was over, while something was waited for.
    Late(String),
    /// The user, or the system, wants it to end.
    Interrupted,
    /// Something else, with what was done.
    System(String, io::Error),
    /// Standard output could not be written.
    Output(io::Error),
}

impl Exit {
    pub fn print(&self) {
        match self {
            Exit::Found | Exit::Interrupted => {}
            // Nobody can be told that it cannot be said.
            _ => drop(writeln!(io::stderr(), "msgpipe: {self}")),
        }
    }

    pub fn code(&self) -> ExitCode {
        let status = match self {
            Exit::Failed(error) => status_of(error),
            Exit::Found => 1,
            Exit::Usage(_) => 2,
            Exit::Late(_) => 4,
            // As a shell says it of what SIGINT has ended.
            Exit::Interrupted => 130,
            Exit::System(..) | Exit::Output(_) => 5,
        };
        ExitCode::from(status)
    }
}

fn status_of(error: &Error) -> u8 {
    match error {
        Error::Answered { .. } => 1,
        Error::Name(_)
        | Error::Misuse { .. }
        | Error::TooLarge { .. }
        | Error::Unsendable { .. } => 2,
        Error::NoServer { .. }
        | Error::Busy { .. }
        | Error::NotStarted { .. }
        | Error::AlreadyServed { .. }
        | Error::Insecure { .. } => 3,
        Error::Closed { .. } if error.is_not_begun() => 3,
        Error::Deadline { .. } => 4,
        _ => 5,
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Failed(error) => error.fmt(f),
            Exit::Found => f.write_str("a check found something"),
            Exit::Interrupted => f.write_str("interrupted"),
            Exit::Usage(text) | Exit::Late(text) => f.write_str(text),
            Exit::System(what, error) => write!(f, "{what}: {error}"),
            Exit::Output(error) => write!(f, "writing to standard output: {error}"),
        }
    }
}

impl From<Error> for Exit {
    fn from(error: Error) -> Exit {
        Exit::Failed(error.into())
    }
}
