//! Faults of a connection while it is in use.

use super::wire::{Exchange, Wire};
use std::sync::Arc;

/// Stalls or resets a connection while it is in use; [`MemoryStream::control`] returns it.
///
/// ```
/// use msgpipe::{Event, Limits, MessageServer, memory};
///
/// let hub = memory::Hub::new();
/// let mut server = hub.listen("notes", Limits::default())?;
/// let stream = hub.connect("notes")?;
/// let control = stream.control();
/// assert!(matches!(server.poll(None)?, Some(Event::Connected(_))));
/// control.reset();
/// assert!(matches!(server.poll(None)?, Some(Event::Closed(..))));
/// # Ok::<_, msgpipe::Error>(())
/// ```
///
/// [`MemoryStream::control`]: super::MemoryStream::control
#[derive(Clone, Debug)]
pub struct Control {
    exchange: Arc<Exchange>,
    id: u64,
}

impl Control {
    pub(super) fn new(exchange: Arc<Exchange>, id: u64) -> Control {
        Control { exchange, id }
    }

    /// Whether both ends have closed.
    #[cfg(feature = "test-util")]
    pub(super) fn has_ended(&self) -> bool {
        !self.exchange.lock().wires.contains_key(&self.id)
    }

    /// Stops all traffic in both directions: neither bytes nor a close arrive. Only a
    /// [`reset`](Control::reset) is noticed.
    pub fn stall(&self) {
        self.change(|wire| wire.stall(true));
    }

    /// Ends a [`stall`](Control::stall).
    pub fn resume(&self) {
        self.change(|wire| wire.stall(false));
    }

    /// Resets the connection, as if the other process had been killed: bytes in flight are lost.
    pub fn reset(&self) {
        self.change(Wire::reset);
    }

    fn change(&self, change: impl FnOnce(&mut Wire)) {
        let mut state = self.exchange.lock();
        if let Some(wire) = state.wires.get_mut(&self.id) {
            change(wire);
            state.touched.push_back(self.id);
        }
        drop(state);
        self.exchange.notify();
    }
}
