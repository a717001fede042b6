//! Why a server was not started.

use super::Fault;
use crate::text::escaped;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// The number of lines of a server's standard error that [`StartError`] has: its last ones, at most, and of them at most
/// the last 4096 bytes. An error's text is for one look; a server that has more to say writes a log
/// ([`Start::log`](crate::Start::log)).
pub const STDERR_LINES: usize = 10;

/// Why a server that was to be [started](crate::Start) does not serve.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The command could not be run: its program was not found, or may not be run.
    NotRun {
        /// The program of the command.
        program: String,
        /// The error of the system.
        cause: io::Error,
    },
    /// The command was not run: its working directory is not there, or may not be entered.
    Directory {
        /// The directory.
        path: PathBuf,
        /// The error of the system.
        cause: io::Error,
    },
    /// The command was not run: its [log](crate::Start::log) could not be opened.
    Log {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        cause: io::Error,
    },
    /// The application's function that starts the server has failed.
    Hook {
        /// Its error.
        cause: io::Error,
    },
    /// The command has ended with a failure, and no server listens.
    Ended {
        /// The program of the command.
        program: String,
        /// How it has ended.
        status: ExitStatus,
        /// The last lines that it wrote to standard error: at most [`STDERR_LINES`], without control characters. What
        /// is not UTF-8 is replaced (U+FFFD).
        stderr: Vec<String>,
    },
    /// The command, or the application's function, was run, and no server listens after [`Limits::start`]. The process
    /// of the command is ended.
    ///
    /// [`Limits::start`]: crate::Limits::start
    Late {
        /// The program of the command; `None`: it was the application's function.
        program: Option<String>,
        /// The time that was given.
        after: Duration,
        /// The command had ended: without a failure, perhaps after it had started another process; or how is not known,
        /// since the application waits for all its children itself, or ignores their ends (`SIGCHLD`).
        has_ended: bool,
        /// As with [`Ended`](StartError::Ended).
        stderr: Vec<String>,
    },
}

impl StartError {
    /// Who is at fault.
    pub(super) fn fault(&self) -> Fault {
        match self {
            StartError::NotRun { .. }
            | StartError::Directory { .. }
            | StartError::Log { .. }
            | StartError::Hook { .. } => Fault::System,
            StartError::Ended { .. } => Fault::Peer,
            StartError::Late { .. } => Fault::Limit,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::NotRun { program, cause } => {
                write!(f, "{} could not be run ({cause}): ", escaped(program))?;
                f.write_str("check that it is installed, and its path")
            }
            StartError::Directory { path, cause } => {
                let path = escaped(&path.to_string_lossy()).to_string();
                write!(
                    f,
                    "nothing was run: {path}, in which the command was to run, cannot be used: {cause}"
                )
            }
            StartError::Log { path, cause } => {
                let path = escaped(&path.to_string_lossy()).to_string();
                write!(f, "nothing was run: the log {path} cannot be opened: {cause}")
            }
            StartError::Hook { cause } => {
                write!(f, "the application's own function failed: {}", escaped(&cause.to_string()))
            }
            StartError::Ended { program, status, stderr } => {
                write!(f, "{} has ended with {status} and does not serve", escaped(program))?;
                quote(f, stderr)
            }
            StartError::Late { program, after, has_ended, stderr } => {
                match program {
                    None => f.write_str("the application's own function has returned")?,
                    Some(program) if *has_ended => {
                        write!(
                            f,
                            "{} has ended, without a failure that is known",
                            escaped(program)
                        )?;
                    }
                    Some(program) => write!(f, "{} runs", escaped(program))?,
                }
                write!(f, ", and nobody serves after {after:?}: check which name it binds, ")?;
                f.write_str("or raise Limits::start")?;
                if program.is_some() { quote(f, stderr) } else { Ok(()) }
            }
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::NotRun { cause, .. }
            | StartError::Directory { cause, .. }
            | StartError::Log { cause, .. }
            | StartError::Hook { cause } => Some(cause),
            _ => None,
        }
    }
}

fn quote(f: &mut fmt::Formatter<'_>, stderr: &[String]) -> fmt::Result {
    match stderr {
        [] => f.write_str("; it wrote nothing to standard error"),
        lines => write!(f, "; its last lines: {}", escaped(&lines.join(" | "))),
    }
}
