//! A channel over a scripted stream, for outcomes that a real system does not produce on demand.

use super::sending::GOODBYE_SEARCH_MAX;
use super::*;
use crate::body::Body;
use crate::client::arrived::{Arrived, Next};
use crate::client::lead::{Inbox, Lead};
use crate::framing::{GoodbyeCode, Layer, Lines, Native, OsMessage, SendQueue};
use crate::peer::Peer;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROOM: usize = 1 << 30;

#[derive(Default)]
struct State {
    /// The outcomes of reads, in order; then `again`, or nothing.
    reads: VecDeque<Result<Bytes, ErrorKind>>,
    again: Bytes,
    read: usize,
    /// The outcomes of writes, in order; then writes take everything.
    writes: VecDeque<Result<usize, ErrorKind>>,
    heard: Vec<u8>,
    /// The address of the last slice of a write.
    last: usize,
    /// Says why it has ended, to those who wait for it.
    explains: bool,
}

#[derive(Clone, Default)]
pub(super) struct Script(Arc<Mutex<State>>, Peer);

impl Script {
    fn reads(&self, reads: impl IntoIterator<Item = Result<Bytes, ErrorKind>>) {
        self.0.lock().unwrap().reads.extend(reads);
    }

    fn writes(&self, writes: impl IntoIterator<Item = Result<usize, ErrorKind>>) {
        self.0.lock().unwrap().writes.extend(writes);
    }

    pub fn heard(&self) -> Vec<u8> {
        self.0.lock().unwrap().heard.clone()
    }
}

impl ClientStream for Script {
    fn read(&self, buffer: &mut BytesMut, _deadline: Option<Instant>) -> io::Result<usize> {
        let mut state = self.0.lock().unwrap();
        let again = state.again.clone();
        let read = match state.reads.pop_front() {
            Some(read) => read?,
            None if again.is_empty() => return Err(ErrorKind::TimedOut.into()),
            None => again,
        };
        buffer.extend_from_slice(&read);
        state.read += read.len();
        Ok(read.len())
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.0.lock().unwrap();
        state.last = slices.last().map_or(0, |slice| slice.as_ptr() as usize);
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let taken = state.writes.pop_front().unwrap_or(Ok(bytes.len()))?;
        state.heard.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn is_sent(&self) -> bool {
        true
    }

    fn wait_writable(&self, _or_readable: bool, _deadline: Option<Instant>) -> io::Result<()> {
        Err(ErrorKind::TimedOut.into())
    }

    fn wake(&self) {}

    fn shutdown(&self) {}

    fn why_ended(&self, kind: ErrorKind, deadline: Option<Instant>) -> Option<io::Error> {
        let waits = deadline.is_none_or(|at| at > Instant::now());
        let explains = self.0.lock().unwrap().explains && waits;
        explains.then(|| io::Error::new(kind, "it was switched off"))
    }

    fn peer(&self) -> &Peer {
        &self.1
    }
}

/// A channel of a client for messages.
pub(super) fn channel(framing: &dyn Framing) -> (Script, Channel, Arrived) {
    let script = Script::default();
    let channel = Channel::new(Box::new(script.clone()), framing);
    let inbox = Arrived::new(ROOM);
    channel.begin(&inbox);
    (script, channel, inbox)
}

pub(super) fn lines() -> (Script, Channel, Arrived) {
    channel(&Lines::new(100))
}

pub(super) fn send(
    channel: &Channel,
    inbox: &dyn Inbox,
    messages: &[&'static str],
) -> Result<u64, Failure> {
    let deadline = Instant::now() + Duration::from_secs(60);
    send_until(deadline, channel, inbox, messages)
}

pub(super) fn send_until(
    deadline: Instant,
    channel: &Channel,
    inbox: &dyn Inbox,
    messages: &[&'static str],
) -> Result<u64, Failure> {
    let mut end = 0;
    channel.send::<Failure>(Some(deadline), inbox, |filler| {
        messages.iter().try_for_each(|text| {
            end = filler.put(&[], Body::from(text.as_bytes())).map_err(Failure::Refused)?;
            Ok(())
        })
    })?;
    Ok(end)
}

fn receive(channel: &Channel, inbox: &Arrived) -> Result<(), Failure> {
    channel.receive(&Lead::take(channel, inbox).unwrap(), None)
}

#[test]
fn an_interrupted_read_or_write_does_not_end_the_connection() {
    let (script, channel, inbox) = lines();
    script.writes([Err(ErrorKind::Interrupted), Ok(1), Err(ErrorKind::Interrupted)]);
    assert_eq!(send(&channel, &inbox, &["hi"]).unwrap(), 3);
    assert_eq!(script.heard(), b"hi\n");
    script.reads([Err(ErrorKind::Interrupted), Ok("ho\n".into())]);
    receive(&channel, &inbox).unwrap();
    assert!(inbox.closed().is_none());
    receive(&channel, &inbox).unwrap();
    assert!(matches!(inbox.next_or_lead(None, true), Next::Message(message) if message == "ho"));
}

#[test]
fn a_stream_that_writes_zero_bytes_is_broken() {
    let (script, channel, inbox) = lines();
    script.writes([Ok(0)]);
    let failure = send(&channel, &inbox, &["hi"]).unwrap_err();
    assert!(matches!(failure, Failure::Closed(CloseReason::Broken(_))), "{failure:?}");
}

#[test]
fn nothing_of_a_refused_batch_is_queued() {
    let (script, channel, inbox) = lines();
    let refused = send(&channel, &inbox, &["one", "t\nwo", "three"]).unwrap_err();
    assert!(matches!(refused, Failure::Refused(_)), "{refused:?}");
    assert_eq!(send(&channel, &inbox, &["next"]).unwrap(), 5);
    assert_eq!(script.heard(), b"next\n");
}

#[test]
fn the_unsent_rest_of_a_message_is_sent_with_the_next_one() {
    for by_reading in [false, true] {
        let (script, channel, inbox) = lines();
        script.writes([Ok(2), Err(ErrorKind::WouldBlock)]);
        assert!(matches!(send(&channel, &inbox, &["abc"]), Err(Failure::Deadline)));
        assert_eq!(script.heard(), b"ab");
        if by_reading {
            assert!(matches!(receive(&channel, &inbox), Err(Failure::Deadline)));
            assert_eq!(script.heard(), b"abc\n");
        }
        assert_eq!(send(&channel, &inbox, &["d"]).unwrap(), 6);
        assert_eq!(script.heard(), b"abc\nd\n");
    }
}

#[test]
fn a_borrowed_body_is_copied_only_if_a_rest_stays_queued() {
    let (script, channel, inbox) = channel(&OsMessage::new(1 << 20));
    let text = vec![7; 1 << 20];
    let send = |deadline| {
        channel.send(Some(deadline), &inbox, |filler| {
            filler.put(&[], Body::from(&text)).map(drop).map_err(Failure::Refused)
        })
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    send(deadline).unwrap();
    assert_eq!(script.0.lock().unwrap().last, text.as_ptr() as usize);
    script.writes([Ok(5), Err(ErrorKind::WouldBlock)]);
    assert!(matches!(send(deadline), Err(Failure::Deadline)));
    drop(text);
    let _ = receive(&channel, &inbox);
    assert_eq!(script.heard(), vec![7; 2 << 20]);
}

#[test]
fn a_message_reported_as_unsent_is_never_sent() {
    let (script, channel, inbox) = lines();
    script.writes([Ok(2), Err(ErrorKind::WouldBlock)]);
    assert!(matches!(send(&channel, &inbox, &["abc"]), Err(Failure::Deadline)));
    assert!(!channel.given.is_surely_unsent(2) && channel.given.is_surely_unsent(3));
    let _ = receive(&channel, &inbox);
    let _ = send(&channel, &inbox, &["d"]);
    assert_eq!(script.heard(), b"ab");
}

fn native() -> Native {
    Native::new(Layer::Messages, 1000)
}

/// The bytes of a server with this limit that closes at once.
fn preface_and_goodbye(limit: usize) -> Bytes {
    let mut encoder = Native::new(Layer::Messages, limit).encoder();
    let mut queue = SendQueue::default();
    encoder.begin(&mut queue);
    encoder.goodbye(77, "closed", &mut queue);
    queue.to_bytes()
}

#[test]
fn a_failed_send_finds_the_goodbye() {
    let (script, channel, inbox) = channel(&native());
    script.writes([Err(ErrorKind::BrokenPipe)]);
    script.reads([Ok(preface_and_goodbye(300))]);
    let failure = send(&channel, &inbox, &["hi"]).unwrap_err();
    let Failure::Closed(CloseReason::Peer(FramingError::Goodbye { code, .. })) = failure else {
        panic!("{failure:?}");
    };
    assert_eq!(code, 77);
    assert_eq!(channel.limit(), 300, "the smaller one of both");
}

#[test]
fn the_search_for_a_goodbye_is_limited_in_bytes_and_time() {
    let (script, channel, inbox) = lines();
    script.0.lock().unwrap().again = "0123456789012345678901234567890\n".repeat(2048).into();
    for (late, least, most) in
        [(true, 0, 0), (false, GOODBYE_SEARCH_MAX, GOODBYE_SEARCH_MAX + 65_536)]
    {
        script.writes([Err(ErrorKind::BrokenPipe)]);
        let now = Instant::now();
        let deadline = if late { now } else { now + Duration::from_secs(600) };
        let sent = send_until(deadline, &channel, &Arrived::new(ROOM), &["hi"]);
        assert!(matches!(sent, Err(Failure::Closed(CloseReason::Broken(_)))), "{sent:?}");
        let read = script.0.lock().unwrap().read;
        assert!((least..=most).contains(&read), "{read} bytes were read");
    }
    drop(inbox);
}

/// After an incomplete message it would be read as its rest.
#[test]
fn a_goodbye_is_sent_only_between_messages() {
    for whole in [false, true] {
        let (script, channel, inbox) = channel(&native());
        if !whole {
            script.writes([Ok(2), Err(ErrorKind::WouldBlock)]);
        }
        assert_eq!(send(&channel, &inbox, &["hi"]).is_ok(), whole);
        let before = script.heard().len();
        channel.close(&CloseReason::Protocol("nonsense".to_owned()));
        let said = script.heard()[before..].to_vec();
        assert_eq!(said.is_empty(), !whole);
        assert!(!whole || said[8..10] == GoodbyeCode::PROTOCOL.to_le_bytes());
    }
}

#[test]
fn the_lead_is_released_in_any_case_and_a_panic_ends_the_connection() {
    let (_script, channel, inbox) = lines();
    drop(Lead::take(&channel, &inbox).unwrap());
    assert!(inbox.closed().is_none());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _lead = Lead::take(&channel, &inbox).unwrap();
        resume_unwind(Box::new(()));
    }));
    assert!(panicked.is_err());
    assert!(matches!(inbox.closed(), Some(CloseReason::Broken(_))));
    assert!(inbox.try_lead(), "it is still taken");
}

/// Whichever finds the end first, a read or a write, and whatever it finds.
#[test]
fn whoever_may_wait_learns_why_the_stream_has_ended() {
    let write_fails = [Err(ErrorKind::BrokenPipe)];
    let ends = [Ok(Bytes::new()), Err(ErrorKind::ConnectionReset), Err(ErrorKind::TimedOut)];
    let check = |failure: Failure| {
        assert!(
            matches!(&failure, Failure::Closed(CloseReason::Broken(error)) if error.to_string().contains("switched off")),
            "{failure:?}"
        );
    };
    for end in &ends {
        let (script, channel, inbox) = lines();
        script.0.lock().unwrap().explains = true;
        script.writes(write_fails);
        script.reads([end.clone()]);
        check(send(&channel, &inbox, &["hi"]).unwrap_err());
        assert!(inbox.closed().unwrap().to_string().contains("switched off"));
        if *end != Err(ErrorKind::TimedOut) {
            let (script, channel, inbox) = lines();
            script.0.lock().unwrap().explains = true;
            script.reads([end.clone()]);
            check(receive(&channel, &inbox).unwrap_err());
        }
    }
    let (script, channel, inbox) = lines();
    script.0.lock().unwrap().explains = true;
    script.reads([Ok(Bytes::new())]);
    let failure = channel.receive_now(&Lead::take(&channel, &inbox).unwrap(), Some(Instant::now()));
    assert!(matches!(failure, Err(Failure::Closed(CloseReason::PeerClosed))), "{failure:?}");
}
