//! Waiting for what the peer sends, beside the thread that reads.

use super::{Channel, Failure};
use crate::client::lead::{Inbox, Lead};
use crate::clock;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

impl Channel {
    /// Waits until `is_met`, which depends on what the peer sends when the connection begins.
    pub fn wait_for_peer(
        &self,
        deadline: Option<Instant>,
        inbox: &dyn Inbox,
        is_met: impl Fn() -> bool,
    ) -> Result<(), Failure> {
        while !is_met() {
            match Lead::take(self, inbox) {
                // It may have been met just before.
                Some(_) if is_met() => {}
                Some(lead) => {
                    // What was read before may let something be sent, and that may be what this waits for.
                    let received = self.receive_unless(&lead, deadline, &is_met);
                    received.map_err(Failure::before_sending)?;
                }
                None => self.wait_for_reader(deadline, inbox, &is_met)?,
            }
            if let Some(reason) = inbox.ended() {
                return Err(Failure::Closed(reason));
            }
        }
        Ok(())
    }

    /// Waits until the thread that reads has read something, or stops reading.
    pub(super) fn wait_for_reader(
        &self,
        deadline: Option<Instant>,
        inbox: &dyn Inbox,
        is_met: &dyn Fn() -> bool,
    ) -> Result<(), Failure> {
        let mut waiting = self.reader_waiters.lock().unwrap_or_else(PoisonError::into_inner);
        if is_met() || inbox.ended().is_some() {
            return Ok(());
        }
        // The other thread may have stopped before this one was counted.
        if inbox.try_lead() {
            drop(waiting);
            drop(Lead::taken(self, inbox));
            return Ok(());
        }
        let left = deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(clock::now()));
        if left.is_zero() {
            return Err(Failure::Unsent);
        }
        *waiting += 1;
        waiting = match self.reader_changed.wait_timeout(waiting, left) {
            Ok((waiting, _)) => waiting,
            Err(poisoned) => poisoned.into_inner().0,
        };
        *waiting -= 1;
        Ok(())
    }

    /// The lead was released: wakes threads that may have to take it.
    pub fn lead_released(&self) {
        if self.sender_waits.load(Ordering::SeqCst) {
            self.stream.wake();
        }
        self.notify_reader_waiters();
    }

    pub(super) fn notify_reader_waiters(&self) {
        if *self.reader_waiters.lock().unwrap_or_else(PoisonError::into_inner) > 0 {
            self.reader_changed.notify_all();
        }
    }
}
