//! One direction of a call, on the side that sends it: messages that wait, and how they become frames.

use super::credit::{Credit, MESSAGE_COST, largest};
use super::errors;
use super::frame::{ENVELOPE_LEN, Frame, Kind};
use super::metadata::Metadata;
use crate::error::ErrorReply;
use bytes::Bytes;
use std::collections::VecDeque;

/// A message that waits to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// Its metadata.
    pub metadata: Metadata,
    /// Of a notification; 0 in calls.
    pub method: u32,
    /// Its bytes.
    pub body: Bytes,
    /// The last of its direction.
    pub last: bool,
}

impl Message {
    /// A message without metadata.
    pub fn new(body: Bytes, last: bool) -> Message {
        Message { metadata: Metadata::default(), method: 0, body, last }
    }

    /// What the message costs of the credit.
    pub(crate) fn charge(&self) -> u64 {
        (self.body.len() + self.metadata.len()) as u64 + MESSAGE_COST
    }
}

/// The fields of a request besides its message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Request {
    pub method: u32,
    /// Only if no message comes with the request.
    pub metadata: Metadata,
}

/// How far the first of the waiting messages is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// None of it has been sent.
    Waits,
    /// Its size has been sent: it begins once the receiver has room for all of it.
    Announced,
    /// Its next piece needs no credit: the credit for all of it is spent, or there is room for it.
    Begun,
}

/// How this side ends its direction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ending {
    Plain,
    Error(ErrorReply),
}

/// What can be sent next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing waits.
    Nothing,
    /// A frame that needs no more credit: a piece of a message that has begun.
    Piece,
    /// The first piece of a message; its charge.
    Begin(u64),
    /// The size of a message that is larger than any credit.
    Announce,
    /// The credit of this call does not suffice.
    Blocked,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Outgoing {
    /// The first of the waiting messages. Most calls have no second one, and need no queue.
    first: Option<Message>,
    rest: VecDeque<Message>,
    /// The bytes of all of them that have not been sent, bodies and metadata.
    queued: usize,
    stage: Stage,
    pub credit: Credit,
    /// The request of this side's own call, until its first frame is sent.
    pub request: Option<Request>,
    /// The application has ended it.
    pub closed: bool,
    /// An end that no message carries. It is sent after the messages.
    ending: Option<Ending>,
    /// The last frame was sent.
    pub ended: bool,
}

impl Outgoing {
    pub fn new(window: u64) -> Outgoing {
        Outgoing {
            first: None,
            rest: VecDeque::new(),
            queued: 0,
            stage: Stage::Waits,
            credit: Credit::new(window),
            request: None,
            closed: false,
            ending: None,
            ended: false,
        }
    }

    pub fn queued(&self) -> usize {
        self.queued
    }

    /// What waits costs that much: messages without bytes count, too.
    pub fn cost(&self) -> usize {
        let messages = self.rest.len() + usize::from(self.first.is_some());
        self.queued + messages * MESSAGE_COST as usize
    }

    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub fn push(&mut self, message: Message) {
        self.queued += message.body.len() + message.metadata.len();
        self.closed |= message.last;
        match self.first {
            None => self.first = Some(message),
            Some(_) => self.rest.push_back(message),
        }
    }

    /// Ends the direction after the messages that wait. The last of them carries a plain end.
    pub fn close(&mut self, ending: Ending) {
        self.closed = true;
        match (&ending, self.rest.back_mut().or(self.first.as_mut())) {
            (Ending::Plain, Some(last)) => last.last = true,
            _ => self.ending = Some(ending),
        }
    }

    /// Drops everything that waits. The bytes that were dropped.
    pub fn clear(&mut self) -> usize {
        self.first = None;
        self.rest = VecDeque::new();
        self.stage = Stage::Waits;
        self.closed = true;
        self.ending = None;
        std::mem::take(&mut self.queued)
    }

    /// Whether only the end is left to be sent, which needs no credit.
    pub fn has_bare_end(&self) -> bool {
        self.first.is_none() && self.ending.is_some()
    }

    /// Whether the frame of a request is left, which has no message yet.
    pub fn has_bare_request(&self) -> bool {
        self.first.is_none() && self.request.is_some()
    }

    /// What can be sent next. `window`: the peer's window of a call, if it is known. A message over half of it
    /// might never get enough credit, and is announced.
    pub fn next(&self, window: Option<u64>) -> Next {
        let Some(message) = &self.first else {
            return Next::Nothing;
        };
        let charge = message.charge();
        match self.stage {
            Stage::Begun => Next::Piece,
            Stage::Waits if window.is_some_and(|window| charge > largest(window)) => Next::Announce,
            Stage::Waits if self.credit.covers(charge) => Next::Begin(charge),
            _ => Next::Blocked,
        }
    }

    /// The receiver has room for the message that was announced.
    pub fn admitted(&mut self) {
        if self.stage == Stage::Announced {
            self.stage = Stage::Begun;
        }
    }

    /// The frame that announces the first message.
    pub fn announce(&mut self, id: u32, request: Option<Kind>) -> Frame {
        self.stage = Stage::Announced;
        let frame = self.first_frame(id, request);
        self.queued -= frame.metadata.len();
        frame
    }

    /// The frame with which the first message begins, as yet without a body.
    fn first_frame(&self, id: u32, request: Option<Kind>) -> Frame {
        let mut frame = Frame::new(request.unwrap_or(Kind::Data { method: 0 }), id);
        if let Some(message) = &self.first {
            frame.kind = request.unwrap_or(Kind::Data { method: message.method });
            frame.total = Some(message.body.len() as u32);
            frame.metadata = message.metadata.as_bytes().clone();
        }
        frame
    }

    /// The next piece of the first message, of at most `most` bytes. Spends the credit of this call for the
    /// whole message with the first piece.
    pub fn piece(&mut self, id: u32, request: Option<Kind>, most: usize) -> Frame {
        let mut frame = match self.stage {
            Stage::Waits => self.first_frame(id, request),
            _ => Frame::new(Kind::Data { method: 0 }, id),
        };
        let Some(message) = &mut self.first else {
            return frame;
        };
        // Before a byte is taken off the message.
        let charge = message.charge();
        frame.body = message.body.split_to(most.max(1).min(message.body.len()));
        self.queued -= frame.body.len() + frame.metadata.len();
        if message.body.is_empty() {
            frame.ends_message = true;
            frame.ends_stream = message.last;
            self.ended = message.last;
            if self.stage == Stage::Waits {
                frame.total = None;
            }
            self.first = self.rest.pop_front();
        }
        if self.stage == Stage::Waits {
            self.credit.spend(charge);
        }
        self.stage = if frame.ends_message { Stage::Waits } else { Stage::Begun };
        frame
    }

    /// Whether the next message has not begun, and has at most `most` bytes.
    pub fn is_whole(&self, most: usize) -> bool {
        let fits = |message: &Message| message.body.len() <= most;
        self.stage == Stage::Waits && self.first.as_ref().is_some_and(fits)
    }

    /// The frame of a request without a message.
    pub fn bare_request(&mut self, id: u32, request: Option<Kind>) -> Frame {
        let mut frame = self.first_frame(id, request);
        if let Some(request) = &self.request {
            frame.metadata = request.metadata.as_bytes().clone();
        }
        frame
    }

    /// The bytes of the next piece, if it has at most `most`.
    pub fn next_len(&self, most: usize) -> usize {
        self.first.as_ref().map_or(0, |message| message.body.len().min(most))
    }

    /// The bytes before the body of the next frame, at most.
    pub fn head_len(&self) -> usize {
        let metadata = self.first.as_ref().map_or(0, |message| message.metadata.len());
        ENVELOPE_LEN + 6 + metadata
    }

    /// The end, once no message is left.
    pub fn end(&mut self, id: u32, largest: usize) -> Option<Frame> {
        let ending = self.ending.take()?;
        self.ended = true;
        Some(match ending {
            Ending::Plain => {
                Frame { ends_stream: true, ..Frame::new(Kind::Data { method: 0 }, id) }
            }
            Ending::Error(error) => errors::encode(id, &error, largest),
        })
    }
}
