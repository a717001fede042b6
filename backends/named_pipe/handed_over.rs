//! There are no listening sockets to be handed over here: a pipe has no listening end of its own.

use super::listener::Listener;
use crate::ServerOptions;
use crate::backends::event_loop::Poller;
use crate::error::Error;
use crate::framing::Carrier;
use std::convert::Infallible;
use std::sync::Arc;

/// A socket that listens already, for [`ServerOptions::listen_on`]: on Unix. On Windows there is no value of it.
#[derive(Debug)]
pub struct ListeningSocket {
    never: Infallible,
}

impl ListeningSocket {
    pub(crate) fn name(&self) -> Arc<str> {
        match self.never {}
    }
}

impl Listener {
    pub fn handed_over(
        handed: ListeningSocket,
        _options: &ServerOptions,
        _carrier: Carrier,
        _poller: &mut Poller,
    ) -> Result<(Listener, Arc<str>), Error> {
        match handed.never {}
    }
}
