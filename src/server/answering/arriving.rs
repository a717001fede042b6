//! What arrives of clients: messages, and the events that come of them.

use super::{Answering, Begun};
use crate::clock;
use crate::error::ErrorReply;
use crate::exchange::{self, BriefEvent};
use crate::framing::GoodbyeCode;
use crate::goodbye::Goodbye;
use crate::message_server::{ConnectionId, MessageServer};
use crate::server::caller::Owner;
use crate::server::connection::Connection;
use crate::server::interrupt::Interrupt;
use crate::server::notification::ClientNotification;
use crate::server::responder::Request;
use bytes::Bytes;

impl<M: MessageServer> Answering<M> {
    /// A message has arrived. The first request that came of it.
    pub(super) fn received(
        &mut self,
        connection: ConnectionId,
        mut message: Bytes,
    ) -> Option<Begun> {
        if !self.messages.is_reachable(connection) {
            self.received_last(connection, message);
            return None;
        }
        let caller = self.callers.get_mut(&connection)?;
        self.outbox.tally.received.add(message.len());
        if !caller.is_hidden {
            self.outbox.tap.frame(connection, false, [&message, &[]]);
        }
        caller.machine.set_full(caller.share().room() == 0);
        let time = || self.messages.event_time();
        match caller.machine.receive_brief(&mut message, time) {
            Ok(BriefEvent::Request { id, method, deadline, charge }) => {
                self.open += 1;
                self.check_at = self.check_at.into_iter().chain(deadline).min();
                let request = caller.request(message, charge);
                let request = Request { method, deadline, ..request };
                let is_last = !caller.machine.has_unsent() && !caller.machine.has_events();
                Some(Begun { id, request, is_last })
            }
            Ok(BriefEvent::Reply { id, owner }) => {
                if let Some(Owner::Call(_)) = owner {
                    self.tend(connection, |caller, _| caller.replied_briefly(id, message));
                }
                None
            }
            Ok(BriefEvent::Nothing) => self.received_other(connection, message),
            Err(violation) => {
                self.close_with(connection, violation.into());
                None
            }
        }
    }

    /// A message of a client that has gone. Nobody waits for what it has asked, but what it has said counts: a program that
    /// notifies and ends is no exception.
    fn received_last(&mut self, connection: ConnectionId, message: Bytes) {
        let Some(caller) = self.callers.get_mut(&connection) else {
            return;
        };
        self.outbox.tally.received.add(message.len());
        let open = caller.machine.peer_open();
        let received = caller.machine.receive(clock::now(), message);
        self.open = self.open + caller.machine.peer_open() - open;
        let mut is_heard = received.is_ok();
        while is_heard {
            let caller = self.callers.get_mut(&connection);
            match caller.and_then(|caller| caller.machine.next_event()) {
                Some(exchange::Event::Request { .. } | exchange::Event::Announced { .. }) => {}
                // Also the replies to what this server has asked.
                Some(event) => drop(self.happened(connection, event)),
                None => is_heard = false,
            }
        }
    }

    /// A message has arrived that is no request of a brief call.
    pub(super) fn received_other(
        &mut self,
        connection: ConnectionId,
        message: Bytes,
    ) -> Option<Begun> {
        let caller = self.callers.get_mut(&connection)?;
        let (open, partials) = (caller.machine.peer_open(), caller.machine.partials());
        let bytes = caller.machine.piece_bytes();
        let received = caller.machine.receive(clock::now(), message);
        self.open = self.open + caller.machine.peer_open() - open;
        if let Err(violation) = received {
            self.close_with(connection, violation.into());
            return None;
        }
        if caller.machine.is_flooded() {
            let text = "you do not read, and too much is to be answered";
            self.messages.close(connection, Goodbye::new(GoodbyeCode::UNREAD, text));
            return None;
        }
        let left = caller.machine.partials();
        let has_piece = left > 0 && caller.machine.piece_bytes() != bytes;
        if left != partials || has_piece {
            self.arriving(connection, left < partials);
        }
        self.next_request(connection)
    }

    /// The next request of a client. Without one, sends what came of the events before.
    pub(super) fn next_request(&mut self, connection: ConnectionId) -> Option<Begun> {
        loop {
            let caller = self.callers.get_mut(&connection)?;
            let Some(event) = caller.machine.next_event() else {
                if caller.machine.has_unsent() {
                    self.tend(connection, |_, _| {});
                }
                return None;
            };
            if let Some(request) = self.happened(connection, event) {
                return Some(request);
            }
        }
    }

    /// Handles an event. Returns a request for the handler.
    pub(super) fn happened(
        &mut self,
        connection: ConnectionId,
        event: exchange::Event,
    ) -> Option<Begun> {
        let caller = self.callers.get_mut(&connection)?;
        match event {
            exchange::Event::Settings => {
                let largest = self.messages.largest_message(connection);
                caller.is_settled(largest);
            }
            exchange::Event::Request { id, method, metadata, message, last, deadline } => {
                self.check_at = self.check_at.into_iter().chain(deadline).min();
                if last && message.is_some() {
                    let (body, charge) = message.unwrap_or_default();
                    let request = caller.request(body, charge);
                    let metadata = (!metadata.is_empty()).then(|| metadata.into());
                    let request = Request { method, deadline, metadata, ..request };
                    return Some(Begun { id, request, is_last: false });
                }
                if self.takes_streams {
                    let request = caller.stream(id, message, last);
                    let metadata = (!metadata.is_empty()).then(|| metadata.into());
                    let request = Request { method, deadline, metadata, ..request };
                    return Some(Begun { id, request, is_last: false });
                }
                if let Some((_, charge)) = message {
                    caller.machine.give_back(charge);
                }
                let text = "this server takes requests of one message";
                self.answer(
                    connection,
                    id,
                    Err(ErrorReply::new(ErrorReply::PARTS_REFUSED, text).into()),
                );
            }
            exchange::Event::Announced { id, size } => {
                caller.announce(id, size);
                self.rooms.wait(connection, caller);
                self.admit();
            }
            exchange::Event::Cancelled { id, why } => caller.cancel(id, why.into()),
            exchange::Event::Stopped { id } => caller.cancel(id, Interrupt::Cancelled),
            exchange::Event::Notification { arrived } => {
                caller.machine.taken(exchange::Side::Client.lane(), arrived.charge);
                caller.machine.give_back(arrived.charge);
                let origin = caller.origin.clone();
                self.outbox.tally.notifications_received.add(1);
                self.hooks.notified(|| ClientNotification {
                    body: arrived.body,
                    method: arrived.method,
                    metadata: arrived.metadata,
                    connection: Connection::new(origin),
                });
            }
            exchange::Event::Message { id, arrived } if caller.is_calling(id) => {
                caller.replied(id, arrived);
            }
            exchange::Event::Ended { id, end } if caller.is_calling(id) => {
                caller.reply_ended(id, end);
            }
            exchange::Event::Ended { id, end } => caller.request_ended(id, &end),
            exchange::Event::Expired { id, sent } => caller.reply_late(id, sent),
            exchange::Event::Message { id, arrived } => caller.part_arrived(id, arrived),
            _ => {}
        }
        None
    }
}
