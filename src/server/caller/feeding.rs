//! Replies of parts: from the threads that make them to the machine, while little waits for the client.

use super::Caller;
use crate::counts::CallEnd;
use crate::error::ErrorReply;
use crate::exchange::{Message, SendError, Side};
use crate::message_server::{ConnectionId, MessageServer};
use crate::server::flow::{Ending, Flow, Next};
use crate::server::interrupt::Interrupt;
use std::sync::Arc;

/// The bytes that wait for a client in the machine before parts of its replies wait elsewhere: four times the send
/// queue, so that the client does not wait for the loop; with a smaller [`Limits::queued`](crate::Limits::queued), that.
/// One part of each reply may be over it.
const PARTS_MAX: usize = 256 * 1024;

/// The bytes that wait for a client in the machine before no more parts of any reply follow: a part of 256 KiB of 32
/// replies that it does not read. More would take the memory that others need.
const REPLIES_MAX: usize = 8 << 20;

/// The lane of the notifications for a client, which are fed as a reply of parts that never ends.
pub(super) const LANE: u32 = Side::Server.lane();

/// The bytes of other replies that wait for a client. With more of them it is not read until it reads.
const UNREAD_MAX: usize = 64 * 1024;

/// The replies of parts to one client.
#[derive(Default)]
pub(super) struct Streams {
    /// Calls with a reply of parts that was not given or sent wholly.
    pub open: Vec<u32>,
    /// Those of them with parts that wait for room in the machine.
    unfed: Vec<u32>,
    /// Those of them with a part in the machine for which there was no memory, and its bytes. It is not charged, and keeps
    /// its place in its [`Flow`], where one part of each reply is not charged either: its sender makes no more of them
    /// meanwhile. So no reply waits for memory that requests hold until their replies have ended.
    uncharged: Vec<(u32, usize)>,
}

/// Whether parts of a reply wait elsewhere: `queued` bytes of it wait for the client in the machine, and `held` of all.
fn is_full(queued: usize, held: usize, limit: usize) -> bool {
    queued > 0 && queued.max(held) >= limit
}

impl Caller {
    /// Parts of the reply to a call have been given.
    pub fn takes_parts(&mut self, id: u32, flow: Arc<Flow>) {
        self.free_places();
        if id == LANE {
            self.add_stream(id);
            self.feed(id);
            return;
        }
        match self.in_flight(id) {
            Some(request) => {
                if request.watch.is_over() {
                    flow.close();
                }
                if request.flow.is_none() {
                    request.flow = Some(flow);
                    self.add_stream(id);
                }
                // What follows is sent in any case.
                self.feed(id);
            }
            None => flow.close(),
        }
    }

    fn add_stream(&mut self, id: u32) {
        let open = &mut self.streams.get_or_insert_default().open;
        if !open.contains(&id) {
            open.push(id);
        }
    }

    /// Where the parts of a reply come from, or the notifications.
    fn flow(&mut self, id: u32) -> Option<Arc<Flow>> {
        match id {
            // The client's limits are not known before its settings.
            LANE => self.origin.lane().filter(|_| self.machine.peer_settings().is_some()).cloned(),
            _ => self.in_flight(id)?.flow.clone(),
        }
    }

    /// The client's limits are known now.
    pub fn is_settled(&mut self, largest_frame: usize) {
        self.machine.set_largest_frame(largest_frame);
        if let Some(settings) = self.machine.peer_settings() {
            self.origin.set_largest_body(settings.body as usize);
        }
        self.feed(LANE);
        self.call_early();
    }

    /// Gives the machine parts that wait for room in it. Returns whether there were any.
    pub fn feed_all(&mut self) -> bool {
        self.free_places();
        let unfed = self.streams.as_mut().map(|streams| std::mem::take(&mut streams.unfed));
        let mut has_fed = false;
        for id in unfed.unwrap_or_default() {
            has_fed |= self.feed(id);
        }
        has_fed
    }

    /// Whether parts wait for room in the machine.
    pub fn is_unfed(&self) -> bool {
        self.streams.as_ref().is_some_and(|streams| !streams.unfed.is_empty())
    }

    /// Gives the machine parts of a reply while little of it waits there. Returns whether there were any.
    fn feed(&mut self, id: u32) -> bool {
        let mut has_fed = false;
        while let Some(flow) = self.flow(id) {
            let queued = self.machine.queued(id);
            let limit = self.machine.queue_limit(PARTS_MAX);
            let held = self.machine.held();
            let streams = self.streams.get_or_insert_default();
            let has_uncharged = streams.uncharged.iter().any(|(it, _)| *it == id);
            let share = self.charge.share();
            let mut keeps_place = false;
            let next = flow.next(|cost| {
                let is_full = is_full(queued, held, limit)
                    || cost > 0 && (held >= REPLIES_MAX || has_uncharged);
                // A quarter of all stays for small messages, so that nobody else waits for who takes no parts.
                keeps_place = cost > share.room_for_large();
                (!is_full).then_some(keeps_place)
            });
            match next {
                Next::Part(part) => self.feed_part(id, part, keeps_place.then_some(&flow)),
                Next::End(ending) => {
                    self.end_parts(id, ending);
                    return true;
                }
                Next::Nothing => return has_fed,
                Next::Later => {
                    streams.unfed.push(id);
                    return has_fed;
                }
            }
            has_fed = true;
        }
        has_fed
    }

    /// Parts for which there was no memory, and that have been handed over for sending now, need their places no more.
    fn free_places(&mut self) {
        let Some(streams) = self.streams.as_mut().filter(|it| !it.uncharged.is_empty()) else {
            return;
        };
        let (machine, mut sent) = (&self.machine, Vec::new());
        streams.uncharged.retain(|(id, _)| {
            let waits = machine.queued(*id) > 0;
            sent.extend((!waits).then_some(*id));
            waits
        });
        for id in sent {
            if let Some(flow) = self.flow(id) {
                flow.free_place();
            }
        }
    }

    /// The bytes of those that have not been handed over. They are the last of their replies that wait: what waits before
    /// them was charged.
    pub(super) fn uncharged_bytes(&mut self) -> usize {
        self.free_places();
        let uncharged = self.streams.iter().flat_map(|streams| &streams.uncharged);
        uncharged.map(|(id, bytes)| self.machine.queued_bytes(*id).min(*bytes)).sum()
    }

    /// `keeps_place`: there is no memory for it, and it keeps its place there.
    fn feed_part(&mut self, id: u32, part: Message, keeps_place: Option<&Arc<Flow>>) {
        let bytes = part.body.len() + part.metadata.len();
        let sent = match id {
            LANE => self.machine.notify(part),
            _ => self.machine.send(id, part),
        };
        if let Some(flow) = keeps_place {
            match &sent {
                Ok(()) => self.streams.get_or_insert_default().uncharged.push((id, bytes)),
                Err(_) => flow.free_place(),
            }
        }
        if id == LANE {
            // One that was given before the client's limit was known may be over it: it is dropped.
            if sent.is_ok() {
                self.origin.outbox.tally.notifications_sent.add(1);
            }
            return;
        }
        self.has_sent_parts = true;
        let Err(error) = sent else {
            return;
        };
        if let SendError::TooLarge { limit } = error {
            let text = format!("a part of the reply was over the limit of {limit} bytes");
            let _ = self.machine.fail(id, ErrorReply::new(ErrorReply::REPLY_TOO_LARGE, text));
        }
        // The client gets no more of it.
        self.cancel(id, Interrupt::Cancelled);
    }

    fn end_parts(&mut self, id: u32, ending: Ending) {
        let end = match ending {
            Ending::Complete => CallEnd::Replied,
            Ending::Failed(_) | Ending::Broken => CallEnd::Failed,
        };
        // Errors mean that nobody waits for the end any more.
        let _ = match ending {
            Ending::Complete => self.machine.end(id),
            Ending::Failed(error) => self.machine.fail(id, *error),
            // In order, as an abort would overtake the parts that wait.
            Ending::Broken => {
                let text = "the server gave up the reply before its end";
                self.machine.fail(id, ErrorReply::new(ErrorReply::FAILED, text))
            }
        };
        self.release(id, end);
    }

    /// A client takes the parts of replies when it likes: while nothing else waits for it, it may leave them unread.
    pub fn allow_unread(&mut self, messages: &mut impl MessageServer, connection: ConnectionId) {
        let machine = &mut self.machine;
        if let Some(streams) = &mut self.streams {
            streams.open.retain(|id| machine.queued(*id) > 0 || machine.owner(*id).is_some());
            if streams.open.is_empty() && streams.unfed.is_empty() && streams.uncharged.is_empty() {
                self.streams = None;
            }
        }
        let open = self.streams.iter().flat_map(|streams| &streams.open);
        let parts: usize = open.map(|id| machine.queued_bytes(*id)).sum();
        // The server's own calls have limits of their own, too.
        let parts = parts + machine.own_queued_bytes();
        let others = machine.held().saturating_sub(parts);
        // Of a reply that is over parts may be left in the send queue.
        let is_sending = self.streams.is_some() || machine.own_open() > 0;
        self.has_sent_parts &= is_sending || self.blocked.is_some();
        if self.is_mixed && self.streams.is_none() {
            self.is_mixed = false;
            messages.limit_in_transit(connection, false);
        }
        let allowed = (is_sending || self.has_sent_parts) && others <= UNREAD_MAX;
        if allowed != self.unread_allowed {
            self.unread_allowed = allowed;
            messages.allow_unread(connection, allowed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_of_each_reply_may_be_over_the_limit() {
        for (queued, held, full) in [
            (0, 0, false),
            (0, PARTS_MAX, false),
            (1, PARTS_MAX - 1, false),
            (1, PARTS_MAX, true),
            (1, PARTS_MAX + 1, true),
            (PARTS_MAX - 1, PARTS_MAX - 1, false),
            (PARTS_MAX, PARTS_MAX, true),
        ] {
            assert_eq!(is_full(queued, held, PARTS_MAX), full, "{queued} {held}");
        }
        assert!(is_full(1, 100, 100) && !is_full(1, 99, 100), "a smaller queue");
    }
}
