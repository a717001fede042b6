//! Replies and frames on their way to a client.

use super::{Caller, Owner};
use crate::clock;
use crate::counts::CallEnd;
use crate::error::ErrorReply;
use crate::exchange::{Frame, Message, Metadata, SendError};
use crate::framing::{FramingError, GoodbyeCode};
use crate::goodbye::Goodbye;
use crate::message_server::{self, ConnectionId, MessageServer, Refusal};
use crate::server::outbox::Answer;
use bytes::Bytes;

impl Caller {
    /// Answers a request. Returns how that ends its call.
    pub fn answer(
        &mut self,
        messages: &mut impl MessageServer,
        connection: ConnectionId,
        id: u32,
        answer: Answer,
    ) -> CallEnd {
        let is_free = self.is_free(messages, connection);
        let answered = match &answer {
            Ok(body) if is_free => self.machine.answer_now(id, body.len()),
            _ => None,
        };
        let (request, end) = match (answered, answer) {
            (Some((whole, request)), Ok(body)) => {
                let (head, size) = (whole.head(), body.len());
                let seen = self.is_seen().then(|| body.clone());
                let sent = messages.send_with_head(connection, &head, body);
                if sent.is_ok() {
                    if let Some(body) = seen {
                        self.origin.outbox.tap.frame(connection, true, [&head, &body]);
                    }
                    self.origin.outbox.tally.sent.add(head.len() + size);
                }
                self.refused =
                    unsent(messages, connection, sent).map(|body| Box::new(whole.into_frame(body)));
                (request, CallEnd::Replied)
            }
            (_, answer) => {
                let end = self.queue(id, answer, Metadata::default());
                (self.machine.release(id), end)
            }
        };
        if let Some(Owner::Request(request)) = request {
            self.is_done(request, end);
        }
        end
    }

    /// Whether a reply can be sent at once. If it has to wait beside parts, the system is to hold less of those.
    fn is_free(&mut self, messages: &mut impl MessageServer, connection: ConnectionId) -> bool {
        let is_free = self.refused.is_none() && messages.has_room(connection);
        // Parts wait in the send queue, or did so until it was last sent.
        let is_behind = !is_free || self.blocked.is_some();
        if is_behind && !self.is_mixed && self.has_parts_waiting() {
            self.is_mixed = true;
            messages.limit_in_transit(connection, true);
        }
        is_free
    }

    /// Whether parts of a reply, or notifications, wait for it to read.
    pub(super) fn has_parts_waiting(&self) -> bool {
        let mut open = self.streams.iter().flat_map(|streams| &streams.open);
        open.any(|id| self.machine.queued(*id) > 0)
    }

    /// Answers with a reply that has metadata.
    pub fn queue_reply(
        &mut self,
        messages: &mut impl MessageServer,
        connection: ConnectionId,
        id: u32,
        (body, metadata): (Bytes, Metadata),
    ) {
        self.is_free(messages, connection);
        let end = self.queue(id, Ok(body), metadata);
        self.release(id, end);
    }

    /// Queues an answer. Without memory to hold the reply the client gets `REPLY_DROPPED`: a handler cannot be made
    /// to wait.
    fn queue(&mut self, id: u32, answer: Answer, metadata: Metadata) -> CallEnd {
        // A part without memory takes none from its client's other replies.
        let is_full = self.charge.share().room() == 0 && self.charged_bytes() > 0;
        let machine = &mut self.machine;
        let mut end = if answer.is_ok() { CallEnd::Replied } else { CallEnd::Failed };
        let answered = match answer {
            Ok(body) if is_full && !body.is_empty() => {
                let text = "the reply was dropped: so much waits to be read already that there is no \
                            memory for it; read faster, or ask for less at once";
                end = CallEnd::Failed;
                machine.fail(id, ErrorReply::new(ErrorReply::REPLY_DROPPED, text))
            }
            Ok(body) => machine.send(id, Message { metadata, ..Message::new(body, true) }),
            Err(error) => machine.fail(id, *error),
        };
        // Other errors mean that nobody waits for the answer any more.
        if let Err(SendError::TooLarge { limit }) = answered {
            let text = format!("the reply was over the limit of {limit} bytes");
            let _ = machine.fail(id, ErrorReply::new(ErrorReply::REPLY_TOO_LARGE, text));
            end = CallEnd::Failed;
        }
        end
    }

    /// Hands over frames while the send queue is short.
    pub fn pump(&mut self, messages: &mut impl MessageServer, connection: ConnectionId) {
        loop {
            let frame = match self.refused.take() {
                Some(frame) => *frame,
                None if !self.machine.has_unsent() => return,
                None if !messages.has_room(connection) => return self.block(),
                None => match self.machine.transmit_with(clock::now) {
                    Some(frame) => frame,
                    None => return,
                },
            };
            let size = frame.size();
            let seen = self.is_seen().then(|| frame.clone());
            let unsent = send(messages, connection, frame);
            if unsent.is_none() {
                if let Some(frame) = seen {
                    let head = [frame.head().as_slice(), frame.metadata()].concat();
                    self.origin.outbox.tap.frame(connection, true, [&head, &frame.into_body()]);
                }
                self.origin.outbox.tally.sent.add(size);
            }
            if let Some(refused) = unsent {
                self.refused = Some(Box::new(refused));
                return self.block();
            }
        }
    }

    /// Whether somebody looks on what is sent to it.
    fn is_seen(&self) -> bool {
        !self.is_hidden && self.origin.outbox.tap.is_on()
    }

    /// It is not read until it has read more.
    fn block(&mut self) {
        self.blocked.get_or_insert_with(clock::now);
    }
}

/// Sends a frame; returns it if the send queue is full.
fn send(
    messages: &mut impl MessageServer,
    connection: ConnectionId,
    mut frame: Frame,
) -> Option<Frame> {
    let head = frame.head();
    let body = std::mem::take(&mut frame.body);
    let sent = match frame.metadata().is_empty() {
        true => messages.send_with_head(connection, head.as_slice(), body),
        false => {
            let head = [head.as_slice(), frame.metadata()].concat();
            messages.send_with_head(connection, &head, body)
        }
    };
    unsent(messages, connection, sent).map(|body| Frame { body, ..frame })
}

/// The body of a frame that was refused because the send queue is full. If the client cannot take it at all, the
/// client is closed.
fn unsent(
    messages: &mut impl MessageServer,
    connection: ConnectionId,
    sent: Result<(), message_server::SendError>,
) -> Option<Bytes> {
    let error = sent.err()?;
    match error.refusal {
        Refusal::Full { .. } | Refusal::Memory { .. } => return Some(error.body),
        Refusal::Closed => {}
        // Frames are cut to what the peer takes. Without this one it would wait for ever.
        Refusal::Framing(why) => {
            let code = match why {
                FramingError::TooLarge { .. } => GoodbyeCode::TOO_LARGE,
                _ => GoodbyeCode::PROTOCOL,
            };
            messages.close(
                connection,
                Goodbye::new(code, format!("no answer fits into your limit: {why}")),
            );
        }
    }
    None
}
