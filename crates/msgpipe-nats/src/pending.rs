//! The calls that wait for a reply. async-nats has such a table too, but never forgets a call that was given up.

use async_nats::Message;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

#[derive(Default)]
struct Table {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Message>>,
}

/// Cheap to clone: the same calls.
#[derive(Clone)]
pub struct Pending {
    table: Arc<Mutex<Table>>,
    limit: usize,
}

/// One of the calls. Dropped, it waits no more.
pub struct Waiting {
    pending: Pending,
    pub token: u64,
    pub reply: oneshot::Receiver<Message>,
}

impl Pending {
    pub fn new(limit: usize) -> Pending {
        Pending { table: Arc::default(), limit }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: as many wait as may.
    pub fn begin(&self) -> Option<Waiting> {
        let mut table = self.table();
        if table.waiting.len() >= self.limit {
            return None;
        }
        let token = table.next;
        table.next += 1;
        let (sender, reply) = oneshot::channel();
        table.waiting.insert(token, sender);
        Some(Waiting { pending: self.clone(), token, reply })
    }

    /// Gives a reply to its call, which the last token of its subject names. One that nobody waits for is dropped.
    pub fn arrived(&self, message: Message) {
        let token = message.subject.rsplit('.').next().and_then(|token| token.parse().ok());
        let sender = token.and_then(|token: u64| self.table().waiting.remove(&token));
        if let Some(sender) = sender {
            let _ = sender.send(message);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.pending.table().waiting.remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_exact_and_a_call_that_was_given_up_frees_its_place() {
        let pending = Pending::new(2);
        let first = pending.begin().unwrap();
        let _second = pending.begin().unwrap();
        assert!(pending.begin().is_none());
        drop(first);
        assert!(pending.begin().is_some());
        assert_eq!(pending.table().waiting.len(), 1);
    }
}
