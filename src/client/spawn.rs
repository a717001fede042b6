//! Clients of child processes.

use super::child::{ChildProcess, ChildStream, Shared};
use super::{Client, ClientOptions};
use crate::backends;
use crate::byte_stream::ByteStream;
use crate::client_stream::ClientStream;
use crate::error::Error;
use crate::exchange::carries_calls;
use crate::framing::{Carrier, Framing, Native};
#[cfg(doc)]
use crate::limits::Limits;
use crate::peer::Peer;
use std::io::{self, ErrorKind};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

impl ClientOptions {
    /// As [`Client::spawn`], with these options. [`trust`](ClientOptions::trust) has no effect: the child is what the
    /// command says.
    ///
    /// # Errors
    /// As [`Client::spawn`]; [`Error::Misuse`] for a framing that does not carry any bytes.
    pub fn spawn(&self, command: &mut Command) -> Result<(Client, ChildProcess), Error> {
        self.spawn_with(command, backends::spawn)
    }

    /// As [`Client::spawn_stdio`], with these options.
    ///
    /// # Errors
    /// As [`spawn`](ClientOptions::spawn).
    pub fn spawn_stdio(&self, command: &mut Command) -> Result<(Client, ChildProcess), Error> {
        self.spawn_with(command, |command| {
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let streams = child.stdout.take().zip(child.stdin.take());
            let stream = streams.ok_or_else(|| ErrorKind::BrokenPipe.into());
            let stream = stream.and_then(|(output, input)| {
                backends::stream_client(ByteStream::new(output, input))
            });
            match stream {
                Ok(stream) => Ok((stream, child)),
                Err(error) => Err(ended(child, error)),
            }
        })
    }

    fn spawn_with(
        &self,
        command: &mut Command,
        start: impl FnOnce(&mut Command) -> io::Result<(Box<dyn ClientStream>, Child)>,
    ) -> Result<(Client, ChildProcess), Error> {
        let program: Arc<str> =
            format!("child process {}", command.get_program().to_string_lossy()).into();
        carries_calls(self.framing.as_deref(), &program)?;
        let limits = self.limits.clamped();
        let framing = self.framing_or(Native::for_calls(limits.message));
        let failed = |source| Error::system(&program, "starting the child process", source);
        if framing.carrier() != Carrier::Stream {
            return Err(failed(ErrorKind::Unsupported.into()));
        }
        let (stream, child) = start(command).map_err(failed)?;
        let peer = Peer { pid: Some(child.id()), ..Peer::default() };
        let endpoint = format!("{program} ({})", child.id());
        let child = Shared::new(child);
        let stream =
            ChildStream { stream, child: child.clone(), peer, is_closed: AtomicBool::new(false) };
        let client =
            Client::over_framing(Box::new(stream), framing, &endpoint, self.limits.clone());
        let child = ChildProcess::new(child, &client.inner, limits.child_end);
        Ok((client, child))
    }
}

/// A child that nobody can talk to is ended.
fn ended(mut child: Child, error: io::Error) -> io::Error {
    // Both fail only if it has ended.
    let _ = child.kill();
    let _ = child.wait();
    error
}

impl Client {
    /// Starts a child process and connects to it, without a name: parent and child have the two ends of a connection that
    /// nobody else can reach, and no other child inherits. The child serves it with
    /// [`Server::inherited`](crate::Server::inherited).
    ///
    /// The connection is the child's standard input, which the command therefore does not choose; its output and its
    /// standard error do what the command says. On Unix it is a pair of sockets, on Windows an instance of a pipe that
    /// takes no second client.
    ///
    /// Does not wait for the child: its first call does, at most for the call's time. If the child has ended, the errors of
    /// calls say so, with its exit status. [`Client::server`] has the child's process id and no user: it may change its
    /// own.
    ///
    /// ```no_run
    /// use msgpipe::Client;
    /// use std::process::Command;
    ///
    /// let (client, child) = Client::spawn(Command::new("plugin").arg("--quiet"))?;
    /// assert_eq!(client.call("hello")?, "hello");
    /// drop(child); // closes the connection, and ends the child
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::System`] if the program cannot be started, or a system call failed.
    pub fn spawn(command: &mut Command) -> Result<(Client, ChildProcess), Error> {
        ClientOptions::new().spawn(command)
    }

    /// Starts a child process and connects to it by its standard input and output, for a program that serves them
    /// ([`Server::over_stdio`](crate::Server::over_stdio)), perhaps on another machine. Its standard error does what the
    /// command says. Otherwise as [`spawn`](Client::spawn), which is faster; see [`ByteStream`] for what a stream costs.
    ///
    /// ```no_run
    /// use msgpipe::Client;
    /// use std::process::Command;
    ///
    /// let (client, _child) = Client::spawn_stdio(Command::new("ssh").args(["host", "notes", "--stdio"]))?;
    /// let reply = client.call("hello")?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`spawn`](Client::spawn). A program that prints something else than the protocol ends the connection with
    /// [`CloseReason::Peer`](crate::CloseReason::Peer).
    pub fn spawn_stdio(command: &mut Command) -> Result<(Client, ChildProcess), Error> {
        ClientOptions::new().spawn_stdio(command)
    }
}
