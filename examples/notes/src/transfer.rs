//! Imports, lists and exports: they take the time that their clients take, so each has a thread of its own, and the
//! workers stay free for all others.

use crate::Failure;
use crate::protocol::{BUSY, NOTE_MAX, Note, TOO_LARGE, TOO_SLOW, text_of};
use msgpipe::bytes::Bytes;
use msgpipe::{ErrorReply, PartError, PartSender, ReceiveError, RequestParts};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How many run at once. Over it a further one is refused. More than one person starts, and all imports together hold
/// 256 MiB at most, as much as `Limits::memory`.
const TRANSFERS: usize = 16;

/// How long one may take from its beginning to its end: far more than the largest import needs. A client that stalls,
/// or trickles, is told so, and its place is free.
pub const TRANSFER_TIME: Duration = Duration::from_secs(60);

/// The bytes of the notes of one import, with [`NOTE_COST`] for each. They are in memory until they are kept, in one
/// transaction: until then nobody waits for them.
const IMPORT_MAX: usize = 256 * NOTE_MAX;

/// What a note costs beside its text.
const NOTE_COST: usize = 64;

/// How long to wait until a client that has taken nothing may have taken something.
const PAUSE: Duration = Duration::from_millis(2);

/// The places of those that run.
#[derive(Default)]
pub struct Places(Arc<AtomicUsize>);

/// One of them, until it is dropped.
pub struct Place(Arc<AtomicUsize>);

impl Places {
    pub fn take(&self) -> Result<Place, ErrorReply> {
        let more = |taken| (taken < TRANSFERS).then_some(taken + 1);
        match self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more) {
            Ok(_) => Ok(Place(self.0.clone())),
            Err(_) => {
                let text = format!(
                    "{TRANSFERS} imports, lists and exports run at once, which is the limit: try again later"
                );
                Err(ErrorReply::new(BUSY, text))
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// When a transfer has to be at its end.
#[derive(Clone, Copy)]
pub struct Deadline {
    time: Duration,
    at: Instant,
}

impl Deadline {
    pub fn new(time: Duration) -> Deadline {
        Deadline { time, at: Instant::now() + time }
    }

    fn left(self) -> Result<Duration, ErrorReply> {
        match self.at.saturating_duration_since(Instant::now()) {
            Duration::ZERO => {
                let text = format!("the client has not come to the end within {:?}", self.time);
                Err(ErrorReply::new(TOO_SLOW, text))
            }
            left => Ok(left),
        }
    }

    /// The texts of an import that has come to its end.
    pub fn receive(self, mut parts: RequestParts) -> Result<Vec<String>, Failure> {
        let (mut texts, mut size) = (Vec::new(), 0);
        loop {
            let part = match parts.next_within(self.left()?) {
                Err(ReceiveError::Late { .. }) => continue, // `left` says so
                part => part?,
            };
            let Some(part) = part else { return Ok(texts) };
            size += part.len() + NOTE_COST;
            if size > IMPORT_MAX {
                let text = format!(
                    "an import is over the limit of {IMPORT_MAX} bytes, with {NOTE_COST} for each note: \
                     import it in several files"
                );
                return Err(ErrorReply::new(TOO_LARGE, text).into());
            }
            texts.push(text_of(&part)?);
        }
    }

    /// Sends a note, as soon as the client has taken enough of those before.
    pub fn send(self, parts: &mut PartSender, note: &Note) -> Result<(), Failure> {
        let mut part = Bytes::from(note.encode());
        loop {
            let left = self.left()?;
            match parts.try_send(part) {
                Err(PartError::Full(it)) => part = it,
                sent => return Ok(sent?),
            }
            thread::sleep(PAUSE.min(left));
        }
    }
}
