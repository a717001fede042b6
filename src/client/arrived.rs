//! The inbox of a `MessageClient`: messages that have been read and not yet received by the application.

use super::lead::Inbox;
use crate::clock;
use crate::error::CloseReason;
use crate::sync::{Condvar, Mutex, MutexGuard};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::Instant;

/// The cost of a message in the inbox besides its bytes: its entry in the queue and its part of the read buffer.
/// With it a peer cannot fill the memory with empty messages.
const MESSAGE_COST: usize = 64;

pub(super) struct Arrived {
    state: Mutex<State>,
    changed: Condvar,
    /// The bytes from which on a sending thread reads no more.
    limit: usize,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Bytes>,
    /// The cost of the messages.
    bytes: usize,
    /// A thread has the lead.
    led: bool,
    closed: Option<CloseReason>,
}

pub(super) enum Next {
    Message(Bytes),
    Closed(CloseReason),
    /// This thread has the lead now.
    Lead,
    Deadline,
}

impl Arrived {
    pub fn new(limit: usize) -> Arrived {
        Arrived { state: Mutex::default(), changed: Condvar::new(), limit }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reason why the connection has ended, if it has.
    pub fn closed(&self) -> Option<CloseReason> {
        self.lock().closed.clone()
    }

    /// Waits for the next message or the lead, whichever comes first. At the deadline it returns only a message
    /// that has arrived, or the free lead if this thread has not `read` yet.
    pub fn next_or_lead(&self, deadline: Option<Instant>, read: bool) -> Next {
        let mut state = self.lock();
        loop {
            if let Some(message) = state.messages.pop_front() {
                state.bytes -= message.len() + MESSAGE_COST;
                return Next::Message(message);
            }
            if let Some(reason) = &state.closed {
                return Next::Closed(reason.clone());
            }
            let left = deadline.map(|at| at.saturating_duration_since(clock::now()));
            let is_over = left.is_some_and(|left| left.is_zero());
            if !(state.led || is_over && read) {
                state.led = true;
                return Next::Lead;
            }
            if is_over {
                return Next::Deadline;
            }
            state = match left {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl Inbox for Arrived {
    fn try_lead(&self) -> bool {
        let mut state = self.lock();
        let free = !state.led && state.bytes < self.limit;
        state.led |= free;
        free
    }

    fn stop_leading(&self) {
        self.lock().led = false;
        self.changed.notify_all();
    }

    fn deliver(&self, messages: &mut Vec<Bytes>) -> Result<(), CloseReason> {
        let mut state = self.lock();
        state.bytes += messages.iter().map(|message| message.len() + MESSAGE_COST).sum::<usize>();
        state.messages.extend(messages.drain(..));
        Ok(())
    }

    fn ended(&self) -> Option<CloseReason> {
        self.closed()
    }

    fn end(&self, reason: &CloseReason) {
        self.lock().closed.get_or_insert_with(|| reason.clone());
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_messages_fill_the_inbox_too() {
        const LIMIT: usize = 10 * MESSAGE_COST;
        for (messages, size, more) in [(9, 0, true), (10, 0, false), (9, 7, true), (9, 8, false)] {
            let arrived = Arrived::new(LIMIT);
            for _ in 0..messages {
                arrived.deliver(&mut vec![vec![0; size].into()]).unwrap();
            }
            assert_eq!(arrived.try_lead(), more, "{messages} messages of {size} bytes");
        }
    }

    #[test]
    fn a_received_message_frees_its_room() {
        let arrived = Arrived::new(MESSAGE_COST);
        arrived.deliver(&mut vec!["one".into()]).unwrap();
        assert!(!arrived.try_lead());
        let Next::Message(message) = arrived.next_or_lead(None, false) else { panic!() };
        assert_eq!((message, arrived.lock().bytes), ("one".into(), 0));
        assert!(arrived.try_lead());
    }
}
