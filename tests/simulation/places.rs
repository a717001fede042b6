//! The calls of a client that are in flight, as the model counts them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Those of the process of a client. On its connection there may be more at times: a call that was dropped keeps its place
/// until the server knows it.
#[derive(Clone, Default)]
pub struct Places(Arc<AtomicUsize>);

impl Places {
    pub fn taken(&self) -> usize {
        self.0.load(SeqCst)
    }

    /// That of a call. Dropping it gives it back.
    pub fn take(&self) -> Place {
        self.0.fetch_add(1, SeqCst);
        Place(self.clone())
    }
}

pub struct Place(Places);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, SeqCst);
    }
}
