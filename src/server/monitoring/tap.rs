//! The frames of a server for those who look on.

use crate::message_server::ConnectionId;
use crate::monitor::{Monitor, Seen};
use bytes::Bytes;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

/// Those who look on. They are known from their first one on.
pub(in crate::server) trait Readers: Send + Sync {
    /// How many there are.
    fn count(&self) -> usize;

    /// Tells all what was seen. Does not block.
    fn tell(&self, seen: Bytes);
}

/// What is shown to whom. Without readers it costs a look at a flag for each frame. Only the server's loop tells it what is
/// seen.
pub(in crate::server) struct Tap {
    /// How many bytes of a frame are shown, plus one; 0: nothing at all.
    shown: AtomicUsize,
    /// There may be readers.
    is_on: AtomicBool,
    /// The number of what is seen next.
    number: AtomicU64,
    readers: OnceLock<Box<dyn Readers>>,
    description: OnceLock<Bytes>,
}

impl Tap {
    pub fn set(&self, monitor: Monitor) {
        self.shown.store(monitor.shown().map_or(0, |shown| shown + 1), Relaxed);
    }

    pub fn describe(&self, interface: Bytes) {
        self.description.get_or_init(|| interface);
    }

    pub fn description(&self) -> Option<&Bytes> {
        self.description.get()
    }

    /// How many bytes of a frame are shown. `None`: nothing at all.
    pub fn shown(&self) -> Option<usize> {
        self.shown.load(Relaxed).checked_sub(1)
    }

    pub fn readers(&self) -> usize {
        self.readers.get().map_or(0, |readers| readers.count())
    }

    /// There is a reader. The first readers that were set count.
    pub fn begin(&self, readers: impl FnOnce() -> Box<dyn Readers>) {
        self.readers.get_or_init(readers);
        self.is_on.store(true, Relaxed);
    }

    /// Whether there may be readers.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Relaxed)
    }

    /// A frame of a client, or to it.
    pub fn frame(&self, connection: ConnectionId, to_client: bool, slices: [&[u8]; 2]) {
        if self.is_on() {
            let shown = self.shown().unwrap_or_default();
            self.tell(|number| Seen::frame(number, connection.number(), to_client, slices, shown));
        }
    }

    /// A client has connected, or has gone.
    pub fn change(&self, connection: ConnectionId, is_connected: bool, what: &dyn fmt::Display) {
        if self.is_on() {
            self.tell(|number| {
                Seen::change(number, connection.number(), is_connected, &what.to_string())
            });
        }
    }

    #[cold]
    fn tell(&self, seen: impl FnOnce(u64) -> Bytes) {
        match self.readers.get() {
            Some(readers) if readers.count() > 0 => {
                readers.tell(seen(self.number.fetch_add(1, Relaxed)));
            }
            _ => self.is_on.store(false, Relaxed),
        }
    }
}

impl Default for Tap {
    fn default() -> Tap {
        let (shown, is_on, number, readers, description) = Default::default();
        let tap = Tap { shown, is_on, number, readers, description };
        tap.set(Monitor::default());
        tap
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("readers", &self.readers()).finish_non_exhaustive()
    }
}
