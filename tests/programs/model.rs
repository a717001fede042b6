//! Which ends of a call the model allows, as its client sees them.

use super::plan::{Ask, End, How, Kind, Reply};
use super::world::{World, fill, metadata};
use bytes::Bytes;
use msgpipe::{Error, ErrorReply, Metadata};
use std::sync::atomic::Ordering::SeqCst;

impl World {
    /// A call for one reply has ended.
    pub fn ends(&self, number: usize, outcome: Result<Bytes, Error>) {
        match outcome {
            Ok(reply) => {
                let asked = &self.asked[number];
                let mut parts = asked.reply(number);
                let expected = match &asked.ask.reply {
                    // No parts are an empty reply. Several are none for such a call.
                    Reply::Parts(_, End::Finish) if parts.len() < 2 => {
                        Some(parts.pop().unwrap_or_default())
                    }
                    Reply::Parts(..) => None,
                    _ => parts.into_iter().next(),
                };
                if expected.as_ref() != Some(&reply) {
                    self.is_wrong_of(number, format!("another reply, of {} bytes", reply.len()));
                }
                self.is_begun(number);
            }
            Err(error) => self.fails(number, &error),
        }
    }

    /// What came beside a reply.
    pub fn comes_with(&self, number: usize, came: &Metadata) {
        let asked = &self.asked[number];
        // They come with the first part.
        let has_some = asked.ask.has_metadata && !asked.reply(number).is_empty();
        let expected = match has_some && self.how != How::AtOnce {
            true => metadata(number),
            false => Metadata::default(),
        };
        if *came != expected {
            self.is_wrong_of(number, format!("it came with {came:?}"));
        }
    }

    /// The handler has begun a request, which has a reply.
    fn is_begun(&self, number: usize) {
        if self.asked[number].begun.load(SeqCst) != 1 {
            self.is_wrong_of(number, "a reply, but its handler has not begun");
        }
    }

    /// So many parts of a reply have come, and then its end.
    pub fn parts_end(&self, number: usize, came: usize, end: Result<(), Error>) {
        let asked = &self.asked[number];
        let all = asked.reply(number).len();
        match (end, &asked.ask.reply) {
            (Ok(()), Reply::Parts(_, End::Fail | End::GiveUp | End::Panic)) => {
                self.is_wrong_of(number, "it ended as if it were complete");
            }
            // The topic is never finished.
            (Ok(()), Reply::Subscribe) if self.is_stopped() => {}
            (Ok(()), _) if came == all => self.is_begun(number),
            (Ok(()), _) => self.is_wrong_of(number, format!("complete, with {came} of {all}")),
            (Err(error), reply) => {
                let is_after_all = error.reply().is_some_and(|it| it.code == 600);
                if is_after_all && came != all && *reply != Reply::Subscribe {
                    self.is_wrong_of(number, format!("its error came after {came} of {all} parts"));
                }
                self.fails(number, &error);
            }
        }
    }

    /// A part of a reply has come.
    pub fn part_comes(&self, number: usize, at: usize, part: &Bytes) {
        if self.asked[number].reply(number).get(at) != Some(part) {
            self.is_wrong_of(number, format!("part {at}, of {} bytes, is another", part.len()));
        }
    }

    /// A call has ended with this error, or was not begun for it.
    pub fn fails(&self, number: usize, error: &Error) {
        let asked = &self.asked[number];
        if error.is_not_begun() {
            asked.is_not_begun.store(true, SeqCst);
        }
        let is_allowed = match error {
            Error::Answered { reply, .. } => self.may_answer(number, reply),
            Error::Deadline { .. } => asked.ask.deadline.is_some(),
            Error::Closed { .. } => self.may_close(asked.client),
            Error::TooManyCalls { .. } => self.is_tight,
            _ => false,
        };
        if !is_allowed {
            self.is_wrong_of(number, error);
        }
    }

    /// A part of a request was not taken.
    pub fn is_refused(&self, number: usize, error: &Error) {
        let asked = &self.asked[number];
        let is_right = match error {
            // It was refused, or answered before its end.
            Error::Stopped { .. } => {
                asked.ask.deadline.is_some()
                    || asked.is_left.load(SeqCst)
                    || asked.has_given_up.load(SeqCst)
                    || asked.begun.load(SeqCst) == 0
                    || self.may_close(asked.client)
            }
            Error::Closed { .. } => self.may_close(asked.client),
            Error::Deadline { .. } => asked.ask.deadline.is_some(),
            _ => false,
        };
        if !is_right {
            self.is_wrong_of(number, format!("a part was not sent: {error}"));
        }
    }

    fn may_answer(&self, number: usize, reply: &ErrorReply) -> bool {
        let asked = &self.asked[number];
        let Ask { kind, reply: planned, .. } = &asked.ask;
        let has_begun = asked.begun.load(SeqCst) == 1;
        match reply.code {
            ErrorReply::FAILED => {
                let panics = match planned {
                    Reply::Panic | Reply::Parts(_, End::GiveUp | End::Panic) => true,
                    Reply::Nothing => self.how == How::AtOnce,
                    Reply::Parts(..) => self.is_stopped(),
                    _ => false,
                };
                // It was given up before anything of it was sent.
                let is_withdrawn = *kind == Kind::Duplex && !asked.ask.finishes && !has_begun;
                is_withdrawn || panics && has_begun
            }
            ErrorReply::REPLY_IN_PARTS => {
                let takes_one = matches!(kind, Kind::Unary | Kind::Upload);
                takes_one && has_begun && asked.reply(number).len() > 1
            }
            ErrorReply::PARTS_REFUSED => {
                let has_parts = matches!(kind, Kind::Upload | Kind::Duplex);
                has_parts && self.how == How::AtOnce && !has_begun
            }
            ErrorReply::UNANSWERED => {
                let gives_none = matches!(planned, Reply::Nothing) || self.is_stopped();
                gives_none && has_begun
            }
            ErrorReply::STOPPING => self.is_stopped(),
            ErrorReply::TOO_MANY_REQUESTS => self.is_tight,
            // No place in the queue, or no worker in time.
            ErrorReply::BUSY => {
                self.how == How::Workers && (self.is_tight || asked.ask.deadline.is_some())
            }
            ErrorReply::LAGGED => matches!(planned, Reply::Subscribe),
            300 => match planned {
                Reply::Error { details } => {
                    let is_same = reply.text == format!("error of {number}")
                        && reply.details == fill(*details, number, 0);
                    is_same && has_begun
                }
                _ => false,
            },
            600 => matches!(planned, Reply::Parts(_, End::Fail)),
            _ => false,
        }
    }
}
