//! Which ends of a call the model allows, as its client sees them.

use super::case::{Case, DRAIN, fill};
use super::plan::{Ask, End, How, Kind, Reply, Room, Step};
use bytes::Bytes;
use msgpipe::framing::{FramingError, GoodbyeCode};
use msgpipe::{CloseReason, Error, ErrorReply, bytes};
use std::time::{Duration, Instant};

impl Ask {
    /// One of the parts of the reply, if it has that.
    pub fn part(&self, at: usize) -> Option<Bytes> {
        match &self.reply {
            Reply::Parts(sizes, ..) => sizes.get(at).map(|size| fill(*size, self.number, at)),
            _ if at > 0 => None,
            Reply::Body(size) | Reply::Slow(_, size) | Reply::Later(_, size) => {
                Some(fill(*size, self.number, 0))
            }
            Reply::CallBack(_) => Some("called back".into()),
            Reply::Close => Some("closed".into()),
            _ => None,
        }
    }

    /// How many parts the reply has.
    fn parts(&self) -> usize {
        match &self.reply {
            Reply::Parts(sizes, ..) => sizes.len(),
            Reply::Error | Reply::Panic | Reply::Nothing | Reply::Hold => 0,
            _ => 1,
        }
    }
}

impl Case {
    /// A call for one reply has ended, which had so much time.
    pub fn ends(
        &self,
        number: usize,
        outcome: Result<Bytes, Error>,
        began: Instant,
        time: Duration,
    ) {
        self.check_time(&format!("request {number}"), began + time, Duration::ZERO);
        self.asked(number).ended += 1;
        match outcome {
            Ok(reply) => {
                let ask = self.asked(number).ask.clone();
                let expected = match &ask.reply {
                    // No parts are an empty reply. Several are none for such a call.
                    Reply::Parts(_, _, End::Finish) if ask.parts() < 2 => {
                        Some(ask.part(0).unwrap_or_default())
                    }
                    Reply::Parts(..) => None,
                    _ => ask.part(0),
                };
                if expected.as_ref() != Some(&reply) {
                    self.is_wrong_of(number, format!("another reply, of {} bytes", reply.len()));
                }
                self.is_begun(number);
            }
            Err(error) => {
                let is_early = self.world.now() < began + time;
                if is_early && matches!(error, Error::Deadline { .. }) {
                    self.is_wrong_of(number, format!("over its time before that: {error}"));
                }
                self.fails(number, &error);
            }
        }
    }

    /// The handler has begun a request, which has a reply.
    fn is_begun(&self, number: usize) {
        if self.asked(number).begun == 0 {
            self.is_wrong_of(number, "a reply, but its handler has not begun");
        }
    }

    /// So many parts of a reply have come, and then its end.
    pub fn parts_end(&self, number: usize, came: usize, end: Result<(), Error>) {
        let ask = self.asked(number).ask.clone();
        self.asked(number).ended += 1;
        let all = ask.parts();
        match (end, &ask.reply) {
            (Ok(()), Reply::Parts(_, _, End::Fail | End::GiveUp)) => {
                self.is_wrong_of(number, "it ended as if it were complete");
            }
            (Ok(()), _) if came == all => self.is_begun(number),
            (Ok(()), _) => self.is_wrong_of(number, format!("complete, with {came} of {all}")),
            (Err(error), _) => {
                if error.reply().is_some_and(|it| it.code == 600) && came != all {
                    self.is_wrong_of(number, format!("its error came after {came} of {all} parts"));
                }
                self.fails(number, &error);
            }
        }
    }

    /// A part of a reply has come.
    pub fn part_comes(&self, number: usize, at: usize, part: &Bytes) {
        if self.asked(number).ask.part(at).as_ref() != Some(part) {
            self.is_wrong_of(number, format!("part {at}, of {} bytes, is another", part.len()));
        }
    }

    /// A call has ended with this error, or was not begun for it.
    pub fn fails(&self, number: usize, error: &Error) {
        let mut asked = self.asked(number);
        asked.is_not_begun |= error.is_not_begun();
        drop(asked);
        let is_allowed = match error {
            Error::Answered { reply, .. } => self.may_answer(number, reply),
            Error::Deadline { .. } => true,
            Error::TooManyCalls { .. } => self.program.room != Room::Enough,
            error => self.may_end(error),
        };
        if !is_allowed {
            self.is_wrong_of(number, error);
        }
        if self.is_forgotten(number, error) {
            self.is_wrong_of(number, format!("its server has stopped without an answer: {error}"));
        }
    }

    /// A server that stops has said goodbye to a call that it had begun, in the time in which it waits for its answer.
    fn is_forgotten(&self, number: usize, error: &Error) -> bool {
        let Error::Closed { reason: CloseReason::Peer(why), .. } = error else { return false };
        let is_stop = matches!(why, FramingError::Goodbye { code: GoodbyeCode::STOPPING, .. });
        // One that is sent again may not have been begun on the connection that has ended.
        let is_begun = self.asked(number).begun == 1 && !self.asked(number).ask.idempotent;
        let stops = self.stops.lock().unwrap();
        is_stop && is_begun && stops.iter().all(|stop| self.world.now() < *stop + DRAIN)
    }

    /// Whether a connection may end with this error, or not be made.
    pub fn may_end(&self, error: &Error) -> bool {
        match error {
            Error::Closed { .. } | Error::NoServer { .. } => self.is_rough,
            Error::Busy { .. } | Error::GaveUp { .. } => self.is_rough,
            Error::Deadline { .. } => true,
            _ => false,
        }
    }

    /// A part of a request was not taken.
    pub fn is_refused(&self, number: usize, error: &Error) {
        let asked = self.asked(number);
        let is_right = match error {
            // It was refused, or answered before its end.
            Error::Stopped { .. } => {
                asked.is_left || asked.has_given_up || asked.begun == 0 || self.is_rough
            }
            error => self.may_end(error),
        };
        drop(asked);
        if !is_right {
            self.is_wrong_of(number, format!("a part was not sent: {error}"));
        }
    }

    fn may_answer(&self, number: usize, reply: &ErrorReply) -> bool {
        let asked = self.asked(number);
        let Ask { kind, reply: planned, finishes, .. } = &asked.ask;
        let has_begun = asked.begun > 0;
        let room = self.program.room;
        let is_stopped = self.program.has(|step| matches!(step, Step::Stop(_) | Step::Kill(_)));
        match reply.code {
            ErrorReply::FAILED => {
                let panics = match planned {
                    Reply::Panic | Reply::Parts(_, _, End::GiveUp) => true,
                    Reply::Nothing => self.program.how == How::AtOnce,
                    Reply::Parts(..) => is_stopped || room == Room::Memory,
                    _ => false,
                };
                // It was given up before anything of it was sent.
                let is_withdrawn = *kind == Kind::Duplex && !finishes && !has_begun;
                is_withdrawn || panics && has_begun
            }
            ErrorReply::REPLY_IN_PARTS => {
                let takes_one = matches!(kind, Kind::Unary | Kind::Upload);
                takes_one && has_begun && asked.ask.parts() > 1
            }
            ErrorReply::PARTS_REFUSED => {
                let has_parts = matches!(kind, Kind::Upload | Kind::Duplex);
                has_parts && self.program.how == How::AtOnce && !has_begun
            }
            ErrorReply::UNANSWERED => {
                has_begun && (is_stopped || matches!(planned, Reply::Nothing | Reply::Hold))
            }
            ErrorReply::STOPPING => is_stopped,
            ErrorReply::TOO_MANY_REQUESTS => room != Room::Enough,
            ErrorReply::REPLY_DROPPED => room == Room::Memory && has_begun,
            300 => *planned == Reply::Error && reply.text == format!("error of {number}"),
            301 => matches!(planned, Reply::CallBack(_)),
            600 => matches!(planned, Reply::Parts(_, _, End::Fail)),
            _ => false,
        }
    }
}
