//! What a thread sends of what others have left: all that comes while it has the lock, and not without an end.

use super::Channel;
use super::sending::LOOKS;
use super::tests::{channel, lines, send, send_until};
use crate::client::lead::{Inbox, Put};
use crate::error::CloseReason;
use crate::framing::OsMessage;
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// An inbox to which something comes just after the sending thread has looked, from a thread that reads and finds the
/// lock taken.
struct Late<'a> {
    channel: &'a Channel,
    looks: AtomicU64,
    has_more: AtomicBool,
}

impl Inbox for Late<'_> {
    fn try_lead(&self) -> bool {
        false
    }

    fn stop_leading(&self) {}

    fn deliver(&self, _messages: &mut Vec<Bytes>) -> Result<(), CloseReason> {
        Ok(())
    }

    fn fill(&self, put: &mut Put<'_>) -> bool {
        let fills = self.has_more.swap(false, Ordering::SeqCst);
        if fills {
            put(b"", "came late".into());
        }
        fills
    }

    fn has_more(&self) -> bool {
        let had_more = self.has_more.load(Ordering::SeqCst);
        if self.looks.fetch_add(1, Ordering::SeqCst) == 0 {
            // What the reading thread does.
            self.has_more.store(true, Ordering::SeqCst);
            self.channel.send_soon(self);
        }
        had_more
    }

    fn end(&self, _reason: &CloseReason) {}

    fn ended(&self) -> Option<CloseReason> {
        None
    }
}

#[test]
fn what_comes_while_a_thread_sends_is_sent_by_it() {
    for sends in [false, true] {
        let (script, channel, _) = lines();
        let (looks, has_more) = (AtomicU64::new(0), AtomicBool::new(false));
        let late = Late { channel: &channel, looks, has_more };
        match sends {
            true => drop(send(&channel, &late, &["its own"]).unwrap()),
            false => channel.send_soon(&late),
        }
        let wanted = if sends { "its own\ncame late\n" } else { "came late\n" };
        assert_eq!(String::from_utf8(script.heard()).unwrap(), wanted);
    }
}

/// An inbox that always has more.
#[derive(Default)]
struct Endless(AtomicUsize);

impl Inbox for Endless {
    fn try_lead(&self) -> bool {
        false
    }

    fn stop_leading(&self) {}

    fn deliver(&self, _messages: &mut Vec<Bytes>) -> Result<(), CloseReason> {
        Ok(())
    }

    fn fill(&self, put: &mut Put<'_>) -> bool {
        self.0.fetch_add(1, Ordering::SeqCst);
        put(b"", vec![b'x'; 64 * 1024].into());
        true
    }

    fn has_more(&self) -> bool {
        true
    }

    fn end(&self, _reason: &CloseReason) {}

    fn ended(&self) -> Option<CloseReason> {
        None
    }
}

#[test]
fn what_never_ends_is_left_to_the_next_thread() {
    let (_script, channel, _) = channel(&OsMessage::new(1 << 20));
    let endless = Endless::default();
    send(&channel, &endless, &["its own"]).unwrap();
    // What it takes with its own message, and what it looks for after that.
    assert_eq!(endless.0.swap(0, Ordering::SeqCst), 2 * LOOKS);
    assert!(channel.has_unsent.load(Ordering::SeqCst));
    channel.send_soon(&endless);
    assert_eq!(endless.0.swap(0, Ordering::SeqCst), LOOKS);
    assert!(channel.has_unsent.load(Ordering::SeqCst));
}

#[test]
fn after_its_deadline_a_thread_sends_only_its_own() {
    let (script, channel, _) = channel(&OsMessage::new(1 << 20));
    let endless = Endless::default();
    for (late, most) in [(Duration::ZERO, 0), (Duration::from_secs(600), 2 * LOOKS)] {
        send_until(Instant::now() + late, &channel, &endless, &["own"]).unwrap();
        assert_eq!(endless.0.swap(0, Ordering::SeqCst), most);
        assert!(channel.has_unsent.load(Ordering::SeqCst));
    }
    assert!(script.heard().starts_with(b"own"));
}
