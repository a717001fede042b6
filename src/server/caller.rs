//! A connected client: its machine of calls, and the memory that is held for it.

use super::responder::{Answer, Origin};
use crate::account::{Charge, Share};
use crate::error::ErrorReply;
use crate::exchange::{Config, Frame, Machine, Message, SendError, Side};
use crate::framing::{FramingError, GoodbyeCode, READ_CHUNK};
use crate::goodbye::Goodbye;
use crate::message_server::{ConnectionId, MessageServer, Refusal};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// What the server keeps for a request in flight.
pub(super) struct InFlight {
    /// The bytes that are held for it.
    pub held: usize,
    /// Set when it is cancelled.
    pub cancelled: Arc<AtomicBool>,
}

pub(super) struct Caller {
    pub origin: Arc<Origin>,
    pub machine: Machine<InFlight>,
    /// A frame that the send queue has refused. It is sent before any other.
    refused: Option<Box<Frame>>,
    /// The memory that is held: messages that have not arrived or have not been sent, requests in flight, and
    /// what is reserved.
    charge: Charge,
    /// The part of it that belongs to requests in flight.
    pub in_flight: usize,
    /// The part of it that is reserved for announced messages.
    pub reserved: usize,
    /// The last time that a piece of an incomplete message has arrived.
    pub progress: Option<Instant>,
    /// Its frames are read even without memory.
    keeps_going: bool,
    /// It has half-closed: it sends nothing more.
    pub finished: bool,
}

impl Caller {
    pub fn new(origin: Arc<Origin>, config: Arc<Config>, share: Share) -> Caller {
        Caller {
            origin,
            machine: Machine::new(Side::Server, config),
            refused: None,
            charge: Charge::new(share),
            in_flight: 0,
            reserved: 0,
            progress: None,
            keeps_going: false,
            finished: false,
        }
    }

    pub fn share(&self) -> &Share {
        self.charge.share()
    }

    /// Charges what is held now.
    pub fn settle(&mut self) {
        let refused = self.refused.as_ref().map_or(0, |frame| frame.size());
        // A reservation covers what has arrived of its message.
        let held = self.machine.held().max(self.reserved);
        self.charge.set(held + refused + self.in_flight);
    }

    /// While a reply waits for credit, or the client sends what memory is reserved for, its frames free memory: they
    /// are read even if there is none.
    pub fn keep_going(&mut self, messages: &mut impl MessageServer, connection: ConnectionId) {
        let keeps_going = self.machine.held() > 0 || self.reserved > 0;
        if keeps_going != self.keeps_going {
            self.keeps_going = keeps_going;
            messages.keep_going(connection, keeps_going);
        }
    }

    /// Whether everything has been handed over for sending.
    pub fn is_idle(&self) -> bool {
        self.refused.is_none() && self.machine.held() == 0 && !self.machine.has_unsent()
    }

    /// Answers a request.
    pub fn answer(
        &mut self,
        messages: &mut impl MessageServer,
        connection: ConnectionId,
        id: u32,
        answer: Answer,
    ) {
        let is_free = self.refused.is_none() && messages.has_room(connection);
        let answered = match &answer {
            Ok(body) if is_free => self.machine.answer_now(id, body.len()),
            _ => None,
        };
        let request = match (answered, answer) {
            (Some((frame, request)), Ok(body)) => {
                self.refused = send(messages, connection, Frame { body, ..frame }).map(Box::new);
                request
            }
            (_, answer) => {
                self.queue(id, answer);
                self.machine.release(id)
            }
        };
        if let Some(request) = request {
            self.in_flight -= request.held;
        }
    }

    /// Queues an answer. Without memory to hold the reply the client gets `REPLY_DROPPED`: a handler cannot be made
    /// to wait.
    fn queue(&mut self, id: u32, answer: Answer) {
        let machine = &mut self.machine;
        let is_full = machine.held() > 0 && self.charge.share().room() == 0;
        let answered = match answer {
            Ok(body) if is_full && !body.is_empty() => {
                let text = "the reply was dropped: so much waits to be read already that there is no \
                            memory for it; read faster, or ask for less at once";
                machine.fail(id, ErrorReply::new(ErrorReply::REPLY_DROPPED, text))
            }
            Ok(body) => machine.send(id, Message::new(body, true)),
            Err(error) => machine.fail(id, error),
        };
        // Other errors mean that nobody waits for the answer any more.
        if let Err(SendError::TooLarge { limit }) = answered {
            let text = format!("the reply was over the limit of {limit} bytes");
            let _ = machine.fail(id, ErrorReply::new(ErrorReply::REPLY_TOO_LARGE, text));
        }
    }

    /// Hands over frames while the send queue is short.
    pub fn pump(&mut self, messages: &mut impl MessageServer, connection: ConnectionId) {
        loop {
            let frame = match self.refused.take() {
                Some(frame) => *frame,
                None if !self.machine.has_unsent() || !messages.has_room(connection) => return,
                None => match self.machine.transmit_with(Instant::now) {
                    Some(frame) => frame,
                    None => return,
                },
            };
            if let Some(refused) = send(messages, connection, frame) {
                self.refused = Some(Box::new(refused));
                return;
            }
        }
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
    let error = sent.err()?;
    match error.refusal {
        Refusal::Full { .. } | Refusal::Memory { .. } => {
            return Some(Frame { body: error.body, ..frame });
        }
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

/// The body of a request that is held until it is answered: a copy of its own if it is small, not a slice of a
/// buffer that other messages share. Returns the bytes that are held for it.
pub(super) fn keep(body: &mut Bytes) -> usize {
    let size = body.len();
    if size < READ_CHUNK / 4 {
        *body = Bytes::copy_from_slice(body);
        return size;
    }
    size.max(READ_CHUNK)
}
