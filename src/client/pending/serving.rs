//! What the server sends unasked, between the machine of the protocol and the queue of what was not taken.

use super::state::State;
use super::unasked::{self, Asked, Item, Next, UNASKED};
use crate::counts::CallEnd;
use crate::error::ErrorReply;
use crate::exchange::{Arrived, Charge, Message, SendError, Side};
use bytes::Bytes;
use std::time::Instant;

/// The error for a call to a client that does not listen.
fn nobody_listens() -> ErrorReply {
    ErrorReply::new(ErrorReply::FAILED, "this client takes no calls")
}

impl State {
    /// The server calls with one message.
    pub(super) fn called(&mut self, asked: Asked, charge: Charge) {
        let id = asked.id;
        // What waits must not hold back the replies that somebody waits for.
        self.machine.give_back(charge);
        let kept = match &mut self.unasked {
            Some(unasked) => unasked.called(asked, self.limit, &self.machine, &mut self.woken),
            None => Err(nobody_listens()),
        };
        if let Err(error) = kept {
            self.answer(id, Err(error));
        }
    }

    /// The server calls with a request of any number of parts.
    pub(super) fn called_in_parts(&mut self, id: u32, charge: Charge) {
        self.machine.give_back(charge);
        let text = "this client takes no requests of parts: send it as one message";
        self.answer(id, Err(ErrorReply::new(ErrorReply::FAILED, text)));
    }

    /// Answers a call of the server that was taken.
    pub fn answer_asked(&mut self, id: u32, answer: Result<Bytes, ErrorReply>) {
        self.counts.requests.ends(match &answer {
            _ if self.closed.is_some() => CallEnd::Closed,
            _ if self.machine.is_cut_off(id) => CallEnd::Cancelled,
            Ok(_) => CallEnd::Replied,
            Err(_) => CallEnd::Failed,
        });
        self.answer(id, answer);
    }

    /// Answers a call of the server.
    pub fn answer(&mut self, id: u32, answer: Result<Bytes, ErrorReply>) {
        let answered = match answer {
            Ok(body) => self.machine.send(id, Message::new(body, true)),
            Err(error) => self.machine.fail(id, error),
        };
        // Other errors mean that nobody waits for the answer any more.
        if let Err(SendError::TooLarge { limit }) = answered {
            let text = format!("the reply was over the limit of {limit} bytes");
            let _ = self.machine.fail(id, ErrorReply::new(ErrorReply::REPLY_TOO_LARGE, text));
        }
        self.machine.release(id);
    }

    /// A notification of the server.
    pub(super) fn notified(&mut self, arrived: Arrived) {
        self.machine.give_back(arrived.charge);
        match &mut self.unasked {
            Some(unasked) => {
                self.counts.notifications_received += 1;
                unasked.notified(arrived, &mut self.woken);
            }
            None => unasked::taken(&mut self.machine, arrived.charge),
        }
    }

    /// The next of what the server has sent unasked. Calls that are over are passed over.
    pub fn next_unasked(&mut self, now: Instant) -> Next {
        while let Some((item, admits)) = self.unasked.as_mut().and_then(|it| it.pop(self.limit)) {
            if admits {
                self.machine.admit(UNASKED);
            }
            match &item {
                Item::Notification(arrived) => unasked::taken(&mut self.machine, arrived.charge),
                Item::Request(asked) => {
                    let is_late = asked.deadline.is_some_and(|at| at <= now);
                    if self.closed.is_some() || is_late || self.machine.is_cut_off(asked.id) {
                        self.machine.release(asked.id);
                        continue;
                    }
                    self.counts.requests.begun += 1;
                }
            }
            return Next::Item(item);
        }
        self.closed.clone().map_or(Next::Nothing, Next::Closed)
    }

    /// Nobody takes any more what the server sends unasked.
    pub fn stop_listening(&mut self) {
        let mut unasked = self.unasked.take().unwrap_or_default();
        // Its waker is not dropped under the lock.
        unasked.waiter.wake(&mut self.woken);
        let (items, is_announced) = unasked.into_rest();
        for item in items {
            match item {
                Item::Notification(arrived) => unasked::taken(&mut self.machine, arrived.charge),
                Item::Request(asked) => self.answer(asked.id, Err(nobody_listens())),
            }
        }
        if is_announced {
            self.machine.admit(UNASKED);
        }
    }

    /// A large message is to come: a reply, a request of the server, or a notification.
    pub(super) fn announced(&mut self, id: u32, size: usize) {
        let is_dropped = self.machine.owner(id).is_some_and(|slot| slot.is_detached);
        match (&mut self.unasked, Side::of(id)) {
            _ if is_dropped => self.machine.stop(id),
            (Some(unasked), _) if id == UNASKED => {
                if unasked.admits_notification(self.limit) {
                    self.machine.admit(id);
                }
            }
            (None, Side::Server) if id != UNASKED => self.answer(id, Err(nobody_listens())),
            (Some(unasked), Side::Server) => {
                match unasked.admits_request(id, size, self.limit, &self.machine) {
                    true => self.machine.admit(id),
                    false => self.answer(id, Err(unasked::too_many())),
                }
            }
            _ => self.machine.admit(id),
        }
    }
}
