//! No spans.

use crate::counts::CallEnd;
use crate::exchange::Metadata;
use crate::message_server::ConnectionId;
use std::fmt::Display;

/// A call of this side.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallSpan(());

impl CallSpan {
    pub fn begin(_endpoint: &str, _method: u32) -> CallSpan {
        CallSpan(())
    }

    /// The metadata of the call's request: `nested`, or `own` if that is `None`.
    pub fn add_to(&self, _own: &Metadata, nested: Option<Metadata>) -> Option<Metadata> {
        nested
    }

    pub fn ends(&self, _how: CallEnd) {}
}

/// A request of the other side.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestSpan(());

/// While it lives, its thread handles the request.
#[derive(Debug)]
pub(crate) struct Entered;

impl RequestSpan {
    pub fn begin(
        _endpoint: &str,
        _connection: Option<ConnectionId>,
        _method: u32,
        _metadata: Option<&Metadata>,
    ) -> RequestSpan {
        RequestSpan(())
    }

    pub fn enter(self) -> Entered {
        Entered
    }

    pub fn ends(&self, _how: CallEnd) {}
}

pub(crate) fn connected(_endpoint: &str, _connection: ConnectionId, _peer: &dyn Display) {}

pub(crate) fn closed(_endpoint: &str, _connection: ConnectionId, _reason: &dyn Display) {}
