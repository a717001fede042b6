//! How servers and clients are set up.
#![forbid(unsafe_code)]

use crate::access::{Access, Trust};
use crate::backends::{self, LocalServer};
use crate::client::{Client, MessageClient};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::framing::{Framing, Layer, Native};
use crate::limits::Limits;
use crate::peer::Peer;
use crate::server::Server;
use std::fmt;
use std::sync::Arc;

/// How many clients are served at once, and what it is that they are served through.
///
/// ```
/// let options = msgpipe::ServerOptions::new().instances(msgpipe::Instances::Fixed(4));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    framing: Option<Arc<dyn Framing>>,
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

    /// A server for calls at `endpoint`. Clients can connect as soon as this returns. A framing of the
    /// caller's has to leave room for the envelope of eight bytes, and to carry any bytes.
    ///
    /// # Errors
    /// As [`Server::bind`]; [`Error::Misuse`] for a framing that does not carry any bytes
    /// ([`Framing::carries_any_bytes`]); [`Error::Insecure`] also when others shall have access to a
    /// place that they cannot reach, and where a [`Risk`] would have to be accepted.
    pub fn bind<E>(&self, endpoint: E) -> Result<Server, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        let endpoint = endpoint.try_into()?;
        for_calls(self.framing.as_deref(), &endpoint)?;
        let framing = Native::for_calls(self.limits.clamped().message);
        let messages = self.listen(&endpoint, framing)?;
        Ok(Server::over(messages, self.limits.clone()))
    }

    /// A server for messages at `endpoint`. Clients can connect as soon as this returns.
    ///
    /// # Errors
    /// As [`bind`](ServerOptions::bind).
    pub fn bind_messages<E>(&self, endpoint: E) -> Result<LocalServer, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        let framing = Native::new(Layer::Messages, self.limits.clamped().message);
        self.listen(&endpoint.try_into()?, framing)
    }

    fn listen(&self, endpoint: &Endpoint, native: Native) -> Result<LocalServer, Error> {
        if endpoint.is_own() && self.access != Access::Owner {
            let problem =
                "a plain name is this user's own, and others cannot get to it: for them, \
                           bind Endpoint::pipe, path or abstract_name"
                    .to_owned();
            return Err(Error::Insecure { endpoint: endpoint.to_string().into(), problem });
        }
        let framing = self.framing.clone().unwrap_or_else(|| Arc::new(native));
        LocalServer::listen(endpoint, framing, self)
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

/// Whether calls can be put in this framing.
fn for_calls(framing: Option<&dyn Framing>, endpoint: &Endpoint) -> Result<(), Error> {
    if framing.is_none_or(|framing| framing.carries_any_bytes()) {
        return Ok(());
    }
    let problem =
        "this framing does not carry any bytes, and the envelope of a call may be any: use \
                   messages (bind_messages, connect_messages), or LengthPrefix"
            .to_owned();
    Err(Error::Misuse { endpoint: endpoint.to_string().into(), problem })
}

/// How a client is set up. The order of the calls does not matter.
///
/// ```no_run
/// use msgpipe::framing::OsMessage;
/// use msgpipe::{ClientOptions, Endpoint};
///
/// // A classic server, which knows nothing of this crate: one message out, one back.
/// let client = ClientOptions::new()
///     .framing(OsMessage::new(64 * 1024))
///     .connect_messages(&Endpoint::pipe(r"\\.\pipe\mynamedpipe")?)?;
/// client.send("Default message from client.")?;
/// println!("{:?}", client.receive(None)?);
/// # Ok::<_, msgpipe::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct ClientOptions {
    limits: Limits,
    trust: Trust,
    framing: Option<Arc<dyn Framing>>,
}

impl ClientOptions {
    /// The defaults: a server of this user or of the system, the default [`Limits`].
    pub fn new() -> ClientOptions {
        ClientOptions::default()
    }

    /// The bounds.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> ClientOptions {
        self.limits = limits;
        self
    }

    /// Who may be the server.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> ClientOptions {
        self.trust = trust;
        self
    }

    /// Another framing than this crate's own. Its own limit takes the place of [`Limits::message`].
    #[must_use]
    pub fn framing(mut self, framing: impl Framing + 'static) -> ClientOptions {
        self.framing = Some(Arc::new(framing));
        self
    }

    /// Connects for calls. Blocks while the server is busy, [`Limits::connect`] at most.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect<E>(&self, endpoint: E) -> Result<Client, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        let endpoint = endpoint.try_into()?;
        for_calls(self.framing.as_deref(), &endpoint)?;
        let framing = self.framing_or(Native::for_calls(self.limits.clamped().message));
        let (stream, name) = self.open(&endpoint, &*framing)?;
        Ok(Client::over_framing(stream, &*framing, &name, &self.limits))
    }

    /// Connects for messages. Blocks while the server is busy, [`Limits::connect`] at most.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_messages<E>(&self, endpoint: E) -> Result<MessageClient, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        let native = Native::new(Layer::Messages, self.limits.clamped().message);
        let framing = self.framing_or(native);
        let (stream, name) = self.open(&endpoint.try_into()?, &*framing)?;
        Ok(MessageClient::over_framing(stream, &*framing, &name, &self.limits))
    }

    fn framing_or(&self, native: Native) -> Arc<dyn Framing> {
        self.framing.clone().unwrap_or_else(|| Arc::new(native))
    }

    fn open(
        &self,
        endpoint: &Endpoint,
        framing: &dyn Framing,
    ) -> Result<backends::Connected, Error> {
        backends::connect(endpoint, &self.limits.clamped(), framing.carrier(), &self.trust)
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("limits", &self.limits)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}
