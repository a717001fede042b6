//! How a server is set up.

use crate::access::Access;
#[cfg(doc)]
use crate::access::Trust;
use crate::framing::Framing;
use crate::limits::Limits;
use crate::peer::Peer;
use std::fmt;
use std::sync::Arc;

/// How many clients are served at once, and what it is that they are served through.
///
/// ```
/// let options = msgpipe::ServerOptions::new().instances(msgpipe::Instances::Fixed(4));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Instances {
    /// As many as clients come, up to [`Limits::connections`]: on Windows an instance of the pipe is
    /// added for each, and goes with it.
    #[default]
    Unlimited,
    /// So many, at least one. On Windows so many instances of the pipe exist and listen from the
    /// start; one more client finds it busy (`ERROR_PIPE_BUSY`, `WaitNamedPipe`), and an instance
    /// whose client has left listens again, with nothing of that client in it. On Unix one more client
    /// waits in the backlog.
    Fixed(usize),
}

/// What is refused at an exact path unless the caller accepts it by name, since it takes away something
/// that is promised else; see [`ServerOptions::accept`]. It concerns sockets; pipes have no directory.
///
/// ```
/// use msgpipe::{Risk, ServerOptions};
/// // mpv's clients look for its socket in /tmp.
/// let options = ServerOptions::new().accept(Risk::SharedDirectory);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Risk {
    /// The socket lies directly in a sticky directory that all can write to, such as `/tmp`: where
    /// programs that exist already look for it there.
    ///
    /// Others cannot replace or remove it (`unlink(2)`, EPERM). But whoever is first has the path:
    /// another user can keep the server from starting, by a file there or in the place of its lock, and
    /// can serve its clients while it does not run. A client of this crate then refuses to talk
    /// ([`Trust`]); one that does not ask who serves is deceived.
    SharedDirectory,
    /// A directory on the way belongs to a user who has no number in this user namespace
    /// (`user_namespaces(7)`): where root is not mapped, so does `/`, and no path could be used.
    ///
    /// Who the owner is cannot be told. It can be root, or any stranger, who could then put another
    /// directory in the place of one on the way, and so another file in the place of the socket: clients
    /// would meet that one, and this server would set its mode. Accept it if whoever made the namespace
    /// has made the directories too. One that others can write to is refused all the same.
    UnknownOwner,
}

type Authorize = dyn Fn(&Peer) -> bool + Send + Sync;

/// How a server is set up. The order of the calls does not matter.
///
/// ```no_run
/// use msgpipe::{Access, Endpoint, Instances, Principal, ServerOptions};
///
/// let server = ServerOptions::new()
///     .access(Access::Only(vec![Principal::Gid(1001), Principal::Sid("S-1-5-32-545".into())]))
///     .instances(Instances::Fixed(4))
///     .authorize(|peer| peer.pid.is_some())
/// #   ; let server = server
///     .bind(&Endpoint::path("/run/notes/socket")?)?;
/// server.serve(|request| format!("hello, {}", request.peer()))?;
/// # Ok::<_, msgpipe::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct ServerOptions {
    pub(crate) limits: Limits,
    pub(crate) access: Access,
    pub(crate) instances: Instances,
    pub(crate) authorize: Option<Arc<Authorize>>,
    pub(crate) half_close: bool,
    pub(crate) keep_name: bool,
    pub(crate) risks: Vec<Risk>,
    pub(super) framing: Option<Arc<dyn Framing>>,
}

impl ServerOptions {
    /// The defaults: for this user only, as many clients as come, the default [`Limits`].
    pub fn new() -> ServerOptions {
        ServerOptions::default()
    }

    /// The bounds.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> ServerOptions {
        self.limits = limits;
        self
    }

    /// Who may connect.
    #[must_use]
    pub fn access(mut self, access: Access) -> ServerOptions {
        self.access = access;
        self
    }

    /// How many clients are served at once.
    #[must_use]
    pub fn instances(mut self, instances: Instances) -> ServerOptions {
        self.instances = instances;
        self
    }

    /// Decides about each client that the system has let in, before anything it sends is looked at.
    /// One that is refused is told so, where the framing has words for it, and closed; nothing else
    /// is ever heard of it. Called on the server's thread: it must not block.
    #[must_use]
    pub fn authorize(
        mut self,
        authorize: impl Fn(&Peer) -> bool + Send + Sync + 'static,
    ) -> ServerOptions {
        self.authorize = Some(Arc::new(authorize));
        self
    }

    /// Accepts a [`Risk`] that is refused else. May be called for several.
    #[must_use]
    pub fn accept(mut self, risk: Risk) -> ServerOptions {
        self.risks.push(risk);
        self
    }

    /// Another framing than this crate's own. Its own limit takes the place of [`Limits::message`].
    ///
    /// Clients that exist already may close their sending direction once they have asked, and read on:
    /// what is answered later reaches them only with [`half_close`](ServerOptions::half_close).
    #[must_use]
    pub fn framing(mut self, framing: impl Framing + 'static) -> ServerOptions {
        self.framing = Some(Arc::new(framing));
        self
    }

    /// Goes on with a client that closes its sending direction and still reads, as `echo hello | socat -
    /// UNIX-CONNECT:…` does: it is told by [`Event::Finished`](crate::Event::Finished), and a server for
    /// calls closes it once all that it asked has been answered. Without this the end of what a client
    /// sends is the end of its connection, and answers that are given later are not sent: one that has
    /// asked and waits keeps its sending direction open. Sockets only: pipes have no half-close.
    #[must_use]
    pub fn half_close(mut self) -> ServerOptions {
        self.half_close = true;
        self
    }

    /// Keeps the name until the server has ended. Without this it is free as soon as the server is told to
    /// [stop](crate::Stopper::stop): another can start while this one still answers what it owes, for
    /// [`Limits::drain`] at most, and both may have the same files open. With it further clients are told
    /// meanwhile that the server stops.
    #[must_use]
    pub fn keep_name(mut self) -> ServerOptions {
        self.keep_name = true;
        self
    }

    /// How many clients are served at once.
    pub(crate) fn most(&self) -> usize {
        let connections = self.limits.clamped().connections;
        match self.instances {
            Instances::Unlimited => connections,
            Instances::Fixed(count) => count.clamp(1, connections),
        }
    }
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerOptions")
            .field("limits", &self.limits)
            .field("access", &self.access)
            .field("instances", &self.instances)
            .field("risks", &self.risks)
            .finish_non_exhaustive()
    }
}
