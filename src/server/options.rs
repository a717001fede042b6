//! The options of a server.

use crate::access::Access;
#[cfg(doc)]
use crate::access::Trust;
use crate::framing::Framing;
use crate::guard::guarded;
use crate::limits::Limits;
use crate::peer::Peer;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The number of clients that are served at once, and of pipe instances.
///
/// ```
/// let options = msgpipe::ServerOptions::new().instances(msgpipe::Instances::Fixed(4));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Instances {
    /// One for each client, up to [`Limits::connections`]. On Windows a pipe instance is created for each
    /// client, and closed with it.
    #[default]
    Unlimited,
    /// This number, at least 1. On Windows this number of pipe instances exists and listens from the
    /// start. A further client gets `ERROR_PIPE_BUSY` and can call `WaitNamedPipe`. When a client has closed,
    /// its instance is replaced by an empty one that listens. On Unix a further client waits in the backlog.
    Fixed(usize),
}

/// A weakness of an exact socket path, which binding refuses unless [`ServerOptions::accept_risk`] allows it. Pipes
/// have no directory and none of these risks.
///
/// ```
/// use msgpipe::{Risk, ServerOptions};
/// // mpv's clients look for its socket in /tmp.
/// let options = ServerOptions::new().accept_risk(Risk::SharedDirectory);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Risk {
    /// The socket is directly in a sticky directory that all users can write to, such as `/tmp`. For existing
    /// programs that expect it there.
    ///
    /// Other users cannot replace or remove the socket (`unlink(2)`, EPERM). But the first user has the path:
    /// another user can prevent the server from starting, by a file at the path or with the name of its lock,
    /// and can serve its clients while it does not run. A client of this crate then refuses to talk
    /// ([`Trust`]); a client that does not check the server's user is deceived.
    SharedDirectory,
    /// A directory of the path belongs to an unmapped user of this user namespace (`user_namespaces(7)`). If
    /// root is not mapped, `/` is such a directory, and no path could be used.
    ///
    /// The owner is unknown. It can be root, or any other user, who could replace a directory of the path and
    /// so the socket: clients would connect to the replacement, and this server would set its mode. Accept it if
    /// the creator of the namespace also created the directories. A directory that others can write to is still
    /// refused.
    UnknownOwner,
}

type Authorize = dyn Fn(&Peer) -> bool + Send + Sync;

/// The options of a server. The setters can be called in any order.
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
    authorize: Option<Arc<Authorize>>,
    pub(crate) half_close: bool,
    pub(crate) keep_name: bool,
    pub(crate) exit_after_parent: Option<Duration>,
    pub(crate) risks: Vec<Risk>,
    pub(super) framing: Option<Arc<dyn Framing>>,
}

impl ServerOptions {
    /// The defaults: [`Access::Owner`], [`Instances::Unlimited`], the native framing, the default [`Limits`].
    pub fn new() -> ServerOptions {
        ServerOptions::default()
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> ServerOptions {
        self.limits = limits;
        self
    }

    /// Sets which users may connect.
    #[must_use]
    pub fn access(mut self, access: Access) -> ServerOptions {
        self.access = access;
        self
    }

    /// Sets the number of clients that are served at once.
    #[must_use]
    pub fn instances(mut self, instances: Instances) -> ServerOptions {
        self.instances = instances;
        self
    }

    /// Sets a function that admits or refuses each client that has [access](ServerOptions::access), before
    /// anything of it is read. A refused client gets a goodbye, if the framing has one, and is closed; the
    /// server returns no event for it. The function runs on the server's thread and must not block.
    #[must_use]
    pub fn authorize(
        mut self,
        authorize: impl Fn(&Peer) -> bool + Send + Sync + 'static,
    ) -> ServerOptions {
        self.authorize = Some(Arc::new(authorize));
        self
    }

    /// Accepts a [`Risk`]. Can be called for several risks. Default: none.
    #[must_use]
    pub fn accept_risk(mut self, risk: Risk) -> ServerOptions {
        self.risks.push(risk);
        self
    }

    /// Sets another framing than the native one. The framing's limit replaces [`Limits::message`].
    ///
    /// Existing clients may half-close after their request, and read on: later replies reach them only with
    /// [`half_close`](ServerOptions::half_close).
    #[must_use]
    pub fn framing(mut self, framing: impl Framing + 'static) -> ServerOptions {
        self.framing = Some(Arc::new(framing));
        self
    }

    /// Keeps a connection open after a half-close: the client has closed its sending direction and still reads,
    /// as `echo hello | socat - UNIX-CONNECT:…` does. [`Event::HalfClosed`](crate::Event::HalfClosed) reports it,
    /// and a server for calls closes the connection once all requests have been answered.
    ///
    /// Default: off. The end of the incoming stream then ends the connection, and later replies are not sent.
    /// Sockets only: pipes have no half-close.
    #[must_use]
    pub fn half_close(mut self) -> ServerOptions {
        self.half_close = true;
        self
    }

    /// Keeps the name until the server has ended. New clients get a goodbye with the code `STOPPING` meanwhile.
    ///
    /// Default: off. The name is free as soon as the server [stops](crate::Stopper::stop): another server can
    /// start while this one still drains, at most for [`Limits::drain`], and both may have the same files open.
    #[must_use]
    pub fn keep_name(mut self) -> ServerOptions {
        self.keep_name = true;
        self
    }

    /// Ends this process, with exit status 1, `grace` after its parent has ended, whatever it does then: for handlers that
    /// may hang. On Unix it counts from the end of the connection. Only with [`inherited`](ServerOptions::inherited),
    /// which starts a thread for it.
    ///
    /// Default: off. `serve` returns when the parent has gone, and a normal `main` ends. With it, what `main` still has to do
    /// after `serve` has to fit into `grace`: at its end nothing of the process is run, no destructor and no exit handler.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// let options = msgpipe::ServerOptions::new().exit_after_parent(Duration::from_secs(5));
    /// options.inherited()?.serve(|request| request.body())?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    #[must_use]
    pub fn exit_after_parent(mut self, grace: Duration) -> ServerOptions {
        self.exit_after_parent = Some(Limits::clamp(grace));
        self
    }

    /// Whether [`authorize`](ServerOptions::authorize) admits this client. A panic of the application's own code refuses
    /// it, and ends nothing else.
    pub(crate) fn admits(&self, peer: &Peer) -> bool {
        let mut is_admitted = self.authorize.is_none();
        if let Some(authorize) = &self.authorize {
            guarded(|| is_admitted = authorize(peer));
        }
        is_admitted
    }

    /// The number of clients that are served at once.
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
