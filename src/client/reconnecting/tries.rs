//! Which errors lead to another try, and how many there may be.

use super::backoff::{Backoff, random};
use super::patience::Patience;
use crate::error::{CloseReason, Error, ErrorReply, Progress};
use crate::framing::{FramingError, GoodbyeCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The tries of one call, or of a subscription since it last had something.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    /// Those that have failed.
    pub failed: u32,
    /// An earlier try may have been begun by the server.
    pub may_have_begun: bool,
    last: Option<Arc<Error>>,
    /// The next connection is not tried before.
    not_before: Option<Instant>,
}

impl Tries {
    /// From now on there is a pause before the next connection is tried.
    pub fn wait_from(&mut self, now: Instant, backoff: &Backoff) {
        self.not_before = Some(self.again_at(now, backoff));
    }

    /// What is left of the pause.
    pub fn pause_left(&self, now: Instant) -> Duration {
        self.not_before.map_or(Duration::ZERO, |then| then.saturating_duration_since(now))
    }

    /// When a call is sent again that was lost with its connection.
    pub fn again_at(&self, now: Instant, backoff: &Backoff) -> Instant {
        now + backoff.pause(self.failed, random())
    }

    /// A call that was sent has failed. `Err`: it is not sent again.
    pub fn after(
        &mut self,
        error: Error,
        is_idempotent: bool,
        backoff: &Backoff,
    ) -> Result<(), Error> {
        let loss = loss(&error);
        if loss == Loss::None || loss == Loss::Unknown && !is_idempotent {
            return Err(self.end(error));
        }
        self.may_have_begun |= loss == Loss::Unknown;
        self.count(error.into(), backoff)
    }

    /// A try has failed with an error that leads to another one. `Err`: there have been as many as may be.
    pub fn count(&mut self, error: Arc<Error>, backoff: &Backoff) -> Result<(), Error> {
        self.failed = self.failed.saturating_add(1);
        self.last = Some(error);
        if self.failed < backoff.tries { Ok(()) } else { Err(self.give_up(None)) }
    }

    /// The error of a call that is not tried again; with its time, if that has ended it.
    fn give_up(&self, time: Option<Duration>) -> Error {
        let last = self.last.clone().expect("a try has failed");
        let progress = match self.may_have_begun {
            true => Progress::Unknown,
            false if last.is_not_begun() => Progress::NotBegun,
            false => Progress::NoRequest,
        };
        Error::GaveUp { tries: self.failed, time, last, progress }
    }

    /// The error at the end of the time: the last one, if there is one.
    pub fn late(&self, endpoint: &Arc<str>, patience: Patience) -> Error {
        let given = patience.given.unwrap_or_default();
        match self.last {
            Some(_) => self.give_up(patience.given),
            None => Error::late(endpoint, given, patience.began, Progress::NotBegun),
        }
    }

    /// An error that ends the call at once. If an earlier try may have been begun, it must not say that none was.
    pub fn end(&mut self, error: Error) -> Error {
        if !self.may_have_begun || !error.is_not_begun() {
            return error;
        }
        self.failed = self.failed.saturating_add(1);
        self.last = Some(error.into());
        self.give_up(None)
    }
}

/// Whether a connection that could not be made may be made later.
pub(super) fn may_connect_later(error: &Error) -> bool {
    match error {
        Error::NoServer { .. } | Error::Busy { .. } => true,
        Error::Closed { reason, .. } => may_come_back(reason),
        _ => false,
    }
}

/// What an error says of a call that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The connection is lost, or the server stops; the request was not begun.
    NotBegun,
    /// The connection is lost, and the request may have been carried out.
    Unknown,
    /// The connection is not lost, or a new one would end in the same way.
    None,
}

pub(crate) fn loss(error: &Error) -> Loss {
    match error {
        Error::Busy { .. } => Loss::NotBegun,
        Error::Answered { reply, .. } if reply.code == ErrorReply::STOPPING => Loss::NotBegun,
        Error::Closed { reason, progress, .. } if may_come_back(reason) => match progress {
            Progress::NotBegun => Loss::NotBegun,
            _ => Loss::Unknown,
        },
        _ => Loss::None,
    }
}

/// Whether a new connection may last where one has ended for this reason. Not if the two sides do not understand each
/// other, if the server refuses this client, or if either application has ended it on purpose.
fn may_come_back(reason: &CloseReason) -> bool {
    match reason {
        CloseReason::Peer(FramingError::Goodbye { code, .. }) => matches!(
            *code,
            GoodbyeCode::STOPPING
                | GoodbyeCode::UNREAD
                | GoodbyeCode::TOO_SLOW
                | GoodbyeCode::IDLE
                | GoodbyeCode::BUSY
        ),
        CloseReason::Peer(FramingError::CutOff { .. })
        | CloseReason::CutOffUnread { .. }
        | CloseReason::PeerClosed
        | CloseReason::Broken(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    fn closed(reason: CloseReason, progress: Progress) -> Error {
        Error::closed(&"here".into(), reason, progress)
    }

    fn goodbye(code: u16) -> CloseReason {
        CloseReason::Peer(FramingError::Goodbye { code, text: String::new() })
    }

    fn broken() -> CloseReason {
        std::io::Error::from(ErrorKind::ConnectionReset).into()
    }

    fn answered(code: u16) -> Error {
        Error::Answered { endpoint: "here".into(), reply: ErrorReply::new(code, "") }
    }

    #[test]
    fn only_the_loss_of_a_connection_leads_to_another_try() {
        use Progress::{NotBegun, Unknown};
        for (error, expected) in [
            (closed(broken(), NotBegun), Loss::NotBegun),
            (closed(broken(), Unknown), Loss::Unknown),
            (closed(CloseReason::PeerClosed, Unknown), Loss::Unknown),
            (closed(goodbye(GoodbyeCode::STOPPING), Unknown), Loss::Unknown),
            (closed(goodbye(GoodbyeCode::IDLE), NotBegun), Loss::NotBegun),
            (closed(goodbye(GoodbyeCode::BUSY), NotBegun), Loss::NotBegun),
            (closed(goodbye(GoodbyeCode::NOT_AUTHORIZED), NotBegun), Loss::None),
            (closed(goodbye(GoodbyeCode::VERSION), NotBegun), Loss::None),
            (closed(goodbye(GoodbyeCode::PROTOCOL), Unknown), Loss::None),
            (closed(goodbye(GoodbyeCode::TOO_LARGE), Unknown), Loss::None),
            (closed(goodbye(100), Unknown), Loss::None),
            (closed(CloseReason::Local, NotBegun), Loss::None),
            (closed(CloseReason::Protocol(String::new()), Unknown), Loss::None),
            (answered(ErrorReply::STOPPING), Loss::NotBegun),
            (answered(ErrorReply::BUSY), Loss::None),
            (answered(ErrorReply::TOO_NESTED), Loss::None),
            (answered(ErrorReply::FAILED), Loss::None),
            (answered(404), Loss::None),
        ] {
            assert_eq!(loss(&error), expected, "{error}");
        }
    }

    #[test]
    fn the_number_of_tries_is_exact() {
        for most in [1, 2, 3] {
            let backoff = Backoff::new().with_tries(most);
            let mut tries = Tries::default();
            let mut count = || tries.count(closed(broken(), Progress::NotBegun).into(), &backoff);
            (1..most).for_each(|_| count().unwrap());
            let error = count().unwrap_err();
            assert!(matches!(error, Error::GaveUp { tries, .. } if tries == most), "{error}");
            assert!(error.is_not_begun());
        }
    }

    #[test]
    fn a_call_that_may_have_been_begun_once_never_counts_as_not_begun() {
        let mut tries = Tries { may_have_begun: true, ..Tries::default() };
        let ended = tries.end(answered(ErrorReply::BUSY));
        assert!(!ended.is_not_begun(), "{ended}");
        assert_eq!(ended.reply().map(|reply| reply.code), Some(ErrorReply::BUSY));
        assert!(Tries::default().end(answered(ErrorReply::BUSY)).is_not_begun());
        let mut tries = Tries { may_have_begun: true, ..Tries::default() };
        let last = closed(broken(), Progress::NotBegun).into();
        let error = tries.count(last, &Backoff::new().with_tries(1)).unwrap_err();
        assert!(!error.is_not_begun(), "{error}");
    }
}
