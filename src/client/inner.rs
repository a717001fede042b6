//! What the clones of a client share: one connection, and its calls in flight.

use super::channel::{Channel, Failure};
use super::failing;
use super::lead::{Inbox as _, Lead};
use super::pending::{Asked, Next, NotBegun, Outcome, Pending};
use super::server_message::Answers;
use crate::clock;
use crate::error::{CloseReason, Error, ErrorReply};
use crate::exchange::{ASSUMED_CALLS, Message, Settings};
use crate::nesting;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) struct Inner {
    pub channel: Channel,
    pub pending: Pending,
    pub endpoint: Arc<str>,
    /// The largest body that this side sends.
    pub limit: usize,
}

impl Inner {
    /// Checks that `count` calls may begin. Late replies of abandoned calls free their places only when they are
    /// read: at the limit they are read first.
    pub fn make_room(&self, count: usize) -> Result<(), NotBegun> {
        let checked = self.pending.check(count);
        if !matches!(checked, Err(NotBegun::TooMany { .. })) {
            return checked;
        }
        if let Some(lead) = Lead::take(&self.channel, &self.pending) {
            while self.pending.room() < count && self.read_arrived(&lead) {}
        }
        self.pending.check(count)
    }

    /// Before the server's settings it is sent no more calls than every server takes: more wait for them.
    pub fn wait_for_calls(&self, count: usize, deadline: Instant) -> Result<(), NotBegun> {
        if self.pending.is_settled() {
            return Ok(());
        }
        let is_met = || {
            self.pending.is_settled() || self.pending.own_open() + count <= ASSUMED_CALLS as usize
        };
        self.channel.wait_for_peer(Some(deadline), &self.pending, is_met)?;
        Ok(())
    }

    /// Checks that the server takes a body of this size. Waits for its limit, if not every server does.
    pub fn wait_for_limit(&self, size: usize, deadline: Instant) -> Result<(), NotBegun> {
        if size > Settings::assumed().body as usize && !self.pending.is_settled() {
            let is_settled = || self.pending.is_settled();
            self.channel.wait_for_peer(Some(deadline), &self.pending, is_settled)?;
        }
        match self.limit.min(self.pending.limit()) {
            limit if size > limit => Err(NotBegun::TooLarge { limit }),
            _ => Ok(()),
        }
    }

    /// Queues a notification, and sends what may be sent at once.
    pub fn notify(&self, message: Message) -> Result<(), NotBegun> {
        self.pending.notify(message)?;
        self.channel.send_soon(&self.pending);
        Ok(())
    }

    /// Waits until one more notification may be queued.
    pub fn wait_for_room(&self, deadline: Instant) -> Result<(), NotBegun> {
        let has_room = || self.pending.may_notify();
        self.channel.wait_for_peer(Some(deadline), &self.pending, has_room)?;
        Ok(())
    }

    /// Reads arrived bytes and delivers the replies in them. `false`: no bytes had arrived. Sends what they allow to
    /// be sent: nobody else may come to do it.
    fn read_arrived(&self, lead: &Lead<'_>) -> bool {
        let received = self.channel.receive_now(lead, Some(clock::now()));
        self.channel.send_left(&self.pending);
        match received {
            Ok(read) => read > 0,
            Err(Failure::Closed(reason)) => {
                self.close(reason);
                false
            }
            Err(_) => false,
        }
    }

    /// Ends all calls. Returns the reason why the connection has ended: the first one counts.
    pub fn close(&self, reason: CloseReason) -> CloseReason {
        self.pending.end(&reason);
        let reason = self.pending.closed().unwrap_or(reason);
        self.channel.close(&reason);
        reason
    }

    /// Waits for an outcome or a part of one of these calls, until the deadline: reads for all, or lets another thread read.
    /// May return before there is something.
    pub fn wait(&self, ids: &[u32], deadline: Option<Instant>) {
        let _waiting = nesting::wait();
        if self.pending.lead_or_follow(ids, deadline) {
            self.lead(&Lead::taken(&self.channel, &self.pending), ids, deadline);
        }
    }

    /// Reads what has arrived, without waiting. If another thread has the lead, that thread does.
    pub fn look(&self) {
        if let Some(lead) = Lead::take(&self.channel, &self.pending) {
            self.read_arrived(&lead);
        }
    }

    /// Reads once what has arrived, for the application's own loop. `false`: nothing had, or another thread reads.
    pub fn read_for_loop(&self) -> bool {
        let Some(mut lead) = Lead::take(&self.channel, &self.pending) else {
            self.channel.send_left(&self.pending);
            return false;
        };
        lead.is_dispatch = true;
        self.read_arrived(&lead) || self.pending.closed().is_some()
    }

    /// Reads, and delivers all replies, until something can be taken of one of these calls, or the deadline.
    fn lead(&self, lead: &Lead<'_>, ids: &[u32], deadline: Option<Instant>) {
        while !self.pending.is_ready(ids) {
            match self.channel.receive(lead, deadline) {
                Ok(()) => {}
                Err(Failure::Closed(reason)) => drop(self.close(reason)),
                Err(_) => break,
            }
            // A stream of other replies must not prevent the check of the deadline.
            let is_over = deadline.is_some_and(|at| at <= clock::now());
            if is_over && !self.pending.is_ready(ids) {
                break;
            }
        }
    }

    /// Returns the outcome of a call that has ended, once, and the position at which its request ends.
    pub fn collect(&self, id: u32) -> Option<(Outcome, u64)> {
        let (outcome, end, has_unsent) = self.pending.collect(id)?;
        if has_unsent {
            // Of a reply of parts only the first was asked for: the server is told.
            self.channel.send_soon(&self.pending);
        }
        Some((outcome, end))
    }

    /// The next part of a reply, if it has arrived.
    pub fn next_part(&self, id: u32) -> Option<Bytes> {
        let (part, has_unsent) = self.pending.next_part(id)?;
        if has_unsent {
            self.channel.send_soon(&self.pending);
        }
        Some(part)
    }

    /// Nobody waits for this call any more: the server is told. Returns the position at which its request ends;
    /// `u64::MAX`: its last byte is never sent, unless the connection has it already.
    pub fn abandon(&self, id: u32) -> u64 {
        let (end, has_unsent) = self.pending.abandon(id);
        if has_unsent {
            self.channel.send_soon(&self.pending);
        }
        end
    }

    /// The next of what the server has sent unasked.
    pub fn next_unasked(&self) -> Next {
        let (next, has_unsent) = self.pending.next_unasked();
        if has_unsent {
            self.channel.send_soon(&self.pending);
        }
        next
    }

    /// Nobody takes any more what the server sends unasked.
    pub fn stop_listening(&self) {
        if self.pending.stop_listening() {
            self.channel.send_soon(&self.pending);
        }
    }

    /// The error of a call with this outcome. `given`: the time that it had.
    pub fn error(&self, outcome: Outcome, end: u64, began: Instant, given: Duration) -> Error {
        failing::ended(&self.endpoint, &self.channel.given, outcome, end, began, given)
    }
}

impl Answers for Inner {
    fn answer(&self, id: u32, answer: Result<Bytes, ErrorReply>) {
        self.pending.answer(id, answer, self.limit);
        self.channel.send_soon(&self.pending);
    }

    fn is_cut_off(&self, asked: &Asked) -> bool {
        self.pending.is_cut_off(asked)
    }

    fn endpoint(&self) -> &str {
        &self.endpoint
    }
}
