//! How a client starts the server.

use crate::backends::processes;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// How a client starts the server if none listens: a command, or a function of the application
/// ([`ClientOptions::start_with`](crate::ClientOptions::start_with)). A clone shares the command.
///
/// The client runs it, and connects again and again, for [`Limits::start`](crate::Limits::start). Of several clients
/// that try at once one starts the server, and the others wait for it: a lock beside the endpoint says which. It is only
/// there to save processes: it is released when its holder ends, and who has waited for half of the time goes on
/// without. (Another user may hold the lock of a pipe or an abstract name, and delay a start by that half; that of a
/// socket file is in its directory.) **Which server serves is decided by the bind**: of several that start at once one has the name.
///
/// # What the server's program has to do
///
/// 1. Bind the name, and not before it can serve. If that fails with
///    [`Error::AlreadyServed`](crate::Error::AlreadyServed), another one is there: end quietly, with status 0.
/// 2. On any other failure write to standard error why, and end with another status. The client that started it returns
///    the last lines and the status with [`Error::NotStarted`](crate::Error::NotStarted).
///
/// A command that ends with status 0 may have asked for the server elsewhere, as `systemctl --user start` does: the client
/// goes on to wait. While no server listens, each client that connects starts one again: a server that may be needed
/// again at once when it ends itself need do nothing.
///
/// # The process of a command
///
/// It outlives the client. It has its own session (Unix) or console (Windows, without a window), so that Ctrl-C or the end
/// of the client's terminal do not end it. Its standard input is empty and its standard output is dropped; of
/// the other descriptors and handles it inherits none. What a command has set for these is replaced. Environment
/// and working directory are those of the client unless the command sets others: set a directory that stays, and a path
/// of the program that is absolute. On Windows the limits of the client's job object hold for it too.
///
/// Standard error goes to a temporary file without a name, which this user alone can open and which ends with
/// the process (on Windows it has a name as long as it is open). So it can write there as long as it lives, whether the client lives or not; but what it writes after it has
/// begun to serve is seen by nobody, and takes space on the disk. A server that writes there more than a few lines
/// should be given a [`log`](Start::log).
///
/// On Unix a thread with a small stack waits for the end of each process that this client has started, so that it does not
/// stay as a zombie. An application that waits for all its children itself, or ignores their ends (`SIGCHLD`), hides
/// how they end: then a failure is seen only after [`Limits::start`](crate::Limits::start).
///
/// ```no_run
/// use msgpipe::{Client, ClientOptions, Start};
/// use std::process::Command;
///
/// let mut command = Command::new("/usr/libexec/notes-server");
/// command.arg("--background").current_dir("/");
/// let client = ClientOptions::new()
///     .start_with(Start::command(command).log("/home/anna/.cache/notes.log"))
///     .connect("com.example.notes")?;
/// # Ok::<_, msgpipe::Error>(())
/// ```
#[derive(Clone)]
pub struct Start {
    pub(super) how: How,
    pub(super) log: Option<PathBuf>,
}

pub(super) type Hook = dyn Fn() -> io::Result<()> + Send + Sync;

#[derive(Clone)]
pub(super) enum How {
    Command(Arc<Mutex<Command>>),
    Hook(Arc<Hook>),
}

impl Start {
    /// Runs this command. `From<Command>` does the same.
    pub fn command(mut command: Command) -> Start {
        processes::detach(&mut command);
        Start { how: How::Command(Arc::new(Mutex::new(command))), log: None }
    }

    /// Calls this function, which starts the server in a way of its own: a service manager, a thread. It runs
    /// on the thread that connects (for the async client on one that may block, not on a thread of the runtime), and its time
    /// counts: it should not block. It need not wait until the server serves.
    /// An error of it is returned in [`Error::NotStarted`](crate::Error::NotStarted); a panic of it goes on to the caller.
    ///
    /// ```no_run
    /// use msgpipe::{ClientOptions, Start};
    /// let start = Start::hook(|| my_service_manager::start("notes"));
    /// let client = ClientOptions::new().start_with(start).connect("com.example.notes")?;
    /// # mod my_service_manager { pub fn start(_: &str) -> std::io::Result<()> { Ok(()) } }
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn hook(start: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> Start {
        Start { how: How::Hook(Arc::new(start)), log: None }
    }

    /// Appends the standard error of the command's process to this file, which is created if it does not exist. The error
    /// of a failed start has the last lines of that start. The file's size has no limit: it is the application's. Without
    /// effect on a [`hook`](Start::hook).
    #[must_use]
    pub fn log(mut self, file: impl Into<PathBuf>) -> Start {
        self.log = Some(file.into());
        self
    }
}

impl From<Command> for Start {
    fn from(command: Command) -> Start {
        Start::command(command)
    }
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.how {
            How::Command(_) => "command",
            How::Hook(_) => "hook",
        };
        f.debug_struct("Start").field("how", &how).field("log", &self.log).finish()
    }
}
