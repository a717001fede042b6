//! Binds a server with its options.

#[cfg(doc)]
use super::Risk;
use super::{Server, ServerOptions};
use crate::access::Access;
use crate::backends::{ListeningSocket, LocalServer};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::exchange::carries_calls;
#[cfg(doc)]
use crate::framing::Framing;
use crate::framing::{Layer, Native};
use std::sync::Arc;

impl ServerOptions {
    /// A server for calls at `endpoint`. Clients can connect as soon as this returns. The limit of a custom
    /// framing must leave room for the envelope of 16 bytes, and the framing must carry any bytes; larger bodies are
    /// sent in pieces.
    ///
    /// # Errors
    /// As [`Server::bind`]; [`Error::Misuse`] for a framing that does not carry any bytes
    /// ([`Framing::carries_any_bytes`]); [`Error::Insecure`] also if other users have access but cannot reach
    /// the place, or if a [`Risk`] has not been accepted.
    pub fn bind<E>(&self, endpoint: E) -> Result<Server, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        let endpoint = endpoint.try_into()?;
        carries_calls(self.framing.as_deref(), &endpoint)?;
        let framing = Native::for_calls(self.limits.clamped().message);
        let messages = self.listen(&endpoint, framing)?;
        Ok(Server::over(messages, self.limits.clone()))
    }

    /// A server for calls on a socket that listens already (Unix). A service manager makes it, starts the server when
    /// the first client comes, and keeps it while the server is started again, so that no client is refused:
    /// systemd's `.socket` units (sd_listen_fds(3)), launchd's `Sockets`. The crate listenfd returns it as a
    /// `UnixListener`; sd-notify says that the server is ready.
    ///
    /// The socket's file belongs to whoever made it: it is not removed, and who may reach it is not checked. Each client
    /// is checked by [`access`](ServerOptions::access) as with [`bind`](ServerOptions::bind). Clients check the user
    /// who called listen(2): the same user, or root ([`Trust`](crate::Trust)). A server that stops leaves clients that
    /// have not been accepted in the socket's queue.
    ///
    /// ```no_run
    /// # #[cfg(unix)] {
    /// use msgpipe::ServerOptions;
    ///
    /// let handed = listenfd::ListenFd::from_env().take_unix_listener(0)?; // from systemd, or none
    /// let options = ServerOptions::new();
    /// let server = match handed {
    ///     Some(listener) => options.listen_on(listener)?,
    ///     None => options.bind("com.example.notes")?,
    /// };
    /// sd_notify::notify(false, &[sd_notify::NotifyState::Ready])?;
    /// server.serve(|request| request.body())?;
    /// # }
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Misuse`] if it is no Unix domain socket that listens, of the type that the framing needs, or for a
    /// framing that does not carry any bytes; [`Error::System`] if a system call failed.
    pub fn listen_on(&self, socket: impl Into<ListeningSocket>) -> Result<Server, Error> {
        let socket = socket.into();
        carries_calls(self.framing.as_deref(), &socket.name())?;
        let framing = Native::for_calls(self.limits.clamped().message);
        let messages = self.take_socket(socket, framing)?;
        Ok(Server::over(messages, self.limits.clone()))
    }

    /// A server for messages on a socket that listens already; otherwise as [`listen_on`](ServerOptions::listen_on).
    ///
    /// # Errors
    /// As [`listen_on`](ServerOptions::listen_on).
    pub fn listen_on_messages(
        &self,
        socket: impl Into<ListeningSocket>,
    ) -> Result<LocalServer, Error> {
        let framing = Native::new(Layer::Messages, self.limits.clamped().message);
        self.take_socket(socket.into(), framing)
    }

    fn take_socket(&self, socket: ListeningSocket, native: Native) -> Result<LocalServer, Error> {
        let framing = self.framing.clone().unwrap_or_else(|| Arc::new(native));
        LocalServer::listen_on(socket, framing, self)
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
            let problem = "a plain name is per user, and other users cannot reach it: for them, \
                           bind Endpoint::pipe, path or abstract_name"
                .to_owned();
            return Err(Error::Insecure { endpoint: endpoint.to_string().into(), problem });
        }
        let framing = self.framing.clone().unwrap_or_else(|| Arc::new(native));
        LocalServer::listen(endpoint, framing, self)
    }
}
