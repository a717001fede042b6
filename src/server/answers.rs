//! Replies to one client: sent at once, or held until the client has read more.

#[cfg(test)]
mod tests;

use super::responder::Answer;
use crate::account::{Charge, Share};
use crate::error::ErrorReply;
use crate::exchange::{ENVELOPE_LEN, Envelope, Kind};
use crate::framing::{FramingError, GoodbyeCode, READ_CHUNK};
use crate::goodbye::Goodbye;
use crate::message_server::{ConnectionId, MessageServer, Refusal};
use crate::text::cut;
use bytes::Bytes;
use std::collections::VecDeque;

/// The cost of a held reply besides its body: its entry in the queue.
const ANSWER_COST: usize = 64;

/// One client's held replies: they wait until earlier ones have been read.
pub(super) struct Answers {
    held: VecDeque<Reply>,
    charge: Charge,
}

/// A reply or an error reply, ready to be sent.
struct Reply {
    envelope: Envelope,
    body: Bytes,
}

impl Reply {
    fn new(id: u32, answer: Answer) -> Reply {
        let (kind, body) = match answer {
            Ok(body) => (Kind::Reply, body),
            Err(error) => (Kind::Error { code: error.code }, error.text.into()),
        };
        Reply { envelope: Envelope { kind, id }, body }
    }

    fn cost(&self) -> usize {
        self.body.len() + ANSWER_COST
    }

    /// The replacement for a reply that does not fit into `limit`: an error reply keeps its code and as
    /// much of its text as fits; a reply becomes the error reply `REPLY_TOO_LARGE`.
    fn shortened(self, limit: usize, why: &FramingError) -> Reply {
        let room = limit.saturating_sub(ENVELOPE_LEN);
        let Envelope { kind, id } = self.envelope;
        let (code, text) = match kind {
            Kind::Error { code } => (code, String::from_utf8_lossy(&self.body).into_owned()),
            _ => (ErrorReply::REPLY_TOO_LARGE, format!("the reply was {why}")),
        };
        Reply::new(id, Err(ErrorReply::new(code, cut(&text, room))))
    }
}

impl Answers {
    pub fn new(share: Share) -> Answers {
        Answers { held: VecDeque::new(), charge: Charge::new(share) }
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Sends a reply, or holds it. Without memory to hold it the client gets `REPLY_DROPPED`: a handler cannot be
    /// made to wait.
    pub fn send(
        &mut self,
        messages: &mut impl MessageServer,
        connection: ConnectionId,
        id: u32,
        answer: Answer,
    ) {
        let reply = Reply::new(id, answer);
        let unsent = match self.held.is_empty() {
            true => send(messages, connection, reply).err(),
            false => Some(reply),
        };
        let Some(mut reply) = unsent else { return };
        if reply.envelope.kind == Kind::Reply && self.charge.share().room() == 0 {
            let text = "the reply was dropped: so much waits to be read already that there is no \
                        memory for it; read faster, or ask for less at once";
            reply = Reply::new(id, Err(ErrorReply::new(ErrorReply::REPLY_DROPPED, text)));
        }
        // Copy it, so that it holds no more memory than it is charged for.
        if reply.body.len() <= READ_CHUNK {
            reply.body = Bytes::copy_from_slice(&reply.body);
        }
        self.charge.add(reply.cost());
        self.held.push_back(reply);
    }

    /// Sends as many held replies as possible.
    pub fn go_on(&mut self, messages: &mut impl MessageServer, connection: ConnectionId) {
        while let Some(reply) = self.held.pop_front() {
            // Once sent, the send queue is charged for it.
            self.charge.sub(reply.cost());
            if let Err(reply) = send(messages, connection, reply) {
                self.charge.add(reply.cost());
                return self.held.push_front(reply);
            }
        }
        self.held = VecDeque::new();
    }
}

/// Sends a reply; returns it if the client's send queue is full.
fn send(
    messages: &mut impl MessageServer,
    connection: ConnectionId,
    reply: Reply,
) -> Result<(), Reply> {
    let Reply { envelope, body } = reply;
    let Err(error) = messages.send_with_head(connection, &envelope.encode(), body) else {
        return Ok(());
    };
    let reply = Reply { envelope, body: error.body };
    match error.refusal {
        Refusal::Closed => Ok(()),
        Refusal::Full { .. } | Refusal::Memory { .. } => Err(reply),
        Refusal::Framing(why) => {
            let limit = match why {
                FramingError::TooLarge { limit, .. } => limit,
                // If the framing cannot carry this body, no replacement is known that it can carry.
                _ => ENVELOPE_LEN,
            };
            let Reply { envelope, body } = reply.shortened(limit, &why);
            if messages.send_with_head(connection, &envelope.encode(), body).is_err() {
                // Without a reply the client would wait for ever.
                let why = Goodbye::new(GoodbyeCode::TOO_LARGE, "no answer fits into your limit");
                messages.close(connection, why);
            }
            Ok(())
        }
    }
}
