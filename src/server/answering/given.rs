//! What other threads give to the loop: replies, parts of replies, notifications.

use super::Answering;
use crate::counts::CallEnd;
use crate::error::CloseReason;
use crate::exchange::Metadata;
use crate::message_server::{ConnectionId, MessageServer};
use crate::server::caller::Unopened;
use crate::server::flow::Flow;
use crate::server::outbox::{Answer, Given};
use bytes::Bytes;
use std::sync::Arc;

/// The most things that are taken before the next poll.
pub(super) const GIVEN_AT_ONCE: usize = 64;

impl<M: MessageServer> Answering<M> {
    /// Takes replies from other threads, up to the limit of a turn.
    pub(super) fn take_given(&mut self) {
        if self.outbox.has_some() {
            self.given.extend(self.outbox.take());
        }
        for _ in 0..GIVEN_AT_ONCE {
            let Some((connection, id, given)) = self.given.pop_front() else {
                return;
            };
            match given {
                Given::Answer(answer) => drop(self.answer(connection, id, answer)),
                Given::Reply(reply) => self.reply(connection, id, *reply),
                Given::Parts(flow) => self.takes_parts(connection, id, flow),
                Given::Taken(inflow) => {
                    self.tend(connection, |caller, _| caller.take_parts(id, &inflow));
                    self.admit();
                }
                Given::Call(call) => self.call(connection, call),
                Given::Cancel(calling) => {
                    self.tend(connection, |caller, _| caller.drop_call(&calling));
                }
                Given::Close(why) => {
                    if let Some(caller) = self.callers.get_mut(&connection) {
                        caller.why.get_or_insert(CloseReason::Local.into());
                    }
                    self.messages.close(connection, *why);
                }
            }
        }
    }

    /// Parts of a reply have been given by another thread.
    pub(super) fn takes_parts(&mut self, connection: ConnectionId, id: u32, flow: Arc<Flow>) {
        if !self.callers.contains_key(&connection) {
            return flow.close();
        }
        self.tend(connection, |caller, _| caller.takes_parts(id, flow));
        self.admit();
    }

    /// Answers a request in flight. A request of a disconnected client is only closed. Returns how its call ends.
    pub(super) fn answer(&mut self, connection: ConnectionId, id: u32, answer: Answer) -> CallEnd {
        let mut end = CallEnd::Closed;
        self.tend(connection, |caller, messages| {
            end = caller.answer(messages, connection, id, answer);
        });
        self.admit();
        end
    }

    /// Calls a client.
    fn call(&mut self, connection: ConnectionId, call: Unopened) {
        if !self.callers.contains_key(&connection) {
            return Given::Call(call).discard();
        }
        self.check_at = self.check_at.into_iter().chain(call.0.deadline).min();
        self.has_calls = true;
        self.tend(connection, |caller, _| caller.call(call));
    }

    /// Answers with a reply that has metadata.
    pub(super) fn reply(&mut self, connection: ConnectionId, id: u32, reply: (Bytes, Metadata)) {
        self.tend(connection, |caller, messages| {
            caller.queue_reply(messages, connection, id, reply);
        });
        self.admit();
    }
}
