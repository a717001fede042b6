//! The options of a client.

use super::start::Start;
use crate::access::Trust;
use crate::framing::Framing;
use crate::limits::Limits;
use std::fmt;
use std::sync::Arc;

/// The options of a client. The setters can be called in any order.
///
/// ```no_run
/// use msgpipe::framing::OsMessage;
/// use msgpipe::{ClientOptions, Endpoint};
///
/// // A classic Win32 pipe server: one message out, one back.
/// let client = ClientOptions::new()
///     .framing(OsMessage::new(64 * 1024))
///     .connect_messages(&Endpoint::pipe(r"\\.\pipe\mynamedpipe")?)?;
/// client.send("Default message from client.")?;
/// println!("{:?}", client.receive(None)?);
/// # Ok::<_, msgpipe::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct ClientOptions {
    pub(super) limits: Limits,
    pub(super) trust: Trust,
    pub(super) framing: Option<Arc<dyn Framing>>,
    pub(super) start: Option<Start>,
}

impl ClientOptions {
    /// The defaults: [`Trust::SameUser`], the native framing, the default [`Limits`].
    pub fn new() -> ClientOptions {
        ClientOptions::default()
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> ClientOptions {
        self.limits = limits;
        self
    }

    /// Sets which servers the client talks to.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> ClientOptions {
        self.trust = trust;
        self
    }

    /// Sets another framing than the native one. The framing's limit replaces [`Limits::message`].
    #[must_use]
    pub fn framing(mut self, framing: impl Framing + 'static) -> ClientOptions {
        self.framing = Some(Arc::new(framing));
        self
    }
}

impl ClientOptions {
    /// Sets how the server is started if none listens. Default: it is not, and connecting fails with
    /// [`Error::NoServer`](crate::Error::NoServer). [`Start`] says what the server's program has to do.
    ///
    /// ```no_run
    /// use msgpipe::ClientOptions;
    /// use std::process::Command;
    ///
    /// let options = ClientOptions::new().start_with(Command::new("notes-server"));
    /// let client = options.connect("com.example.notes")?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    #[must_use]
    pub fn start_with(mut self, start: impl Into<Start>) -> ClientOptions {
        self.start = Some(start.into());
        self
    }
}

#[cfg(feature = "tokio")]
impl ClientOptions {
    /// The limits as they are applied.
    pub(crate) fn limits_of_calls(&self) -> Limits {
        self.limits.clamped()
    }

    /// The framing, if it is another than the native one.
    pub(crate) fn own_framing(&self) -> Option<&dyn Framing> {
        self.framing.as_deref()
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
