//! Replies to a client with a send queue of limited length.

use super::*;
use crate::account::Account;
use crate::error::Error;
use crate::limits::Limits;
use crate::message_server::{Event, SendError, Waker};
use crate::peer::Peer;
use std::time::Duration;

const CALLER: ConnectionId = ConnectionId::from_number(1);

/// A `MessageServer` that takes a limited number of messages of limited size.
struct Messages {
    room: usize,
    limit: usize,
    /// The ids, codes (0 for a reply) and body lengths of the taken messages.
    sent: Vec<(u32, u16, usize)>,
    closed: Option<u16>,
}

impl MessageServer for Messages {
    fn poll(&mut self, _: Option<Duration>) -> Result<Option<Event>, Error> {
        Ok(None)
    }

    fn send_with_head(
        &mut self,
        to: ConnectionId,
        head: &[u8],
        body: Bytes,
    ) -> Result<(), SendError> {
        let size = head.len() + body.len();
        if self.room == 0 {
            return Err(SendError::new(to, Refusal::Full { queued: 0, limit: 0 }, body));
        }
        if size > self.limit {
            let too_large = FramingError::TooLarge { size: size as u64, limit: self.limit };
            return Err(SendError::new(to, too_large.into(), body));
        }
        let envelope = Envelope::decode(&mut Bytes::copy_from_slice(head)).unwrap();
        let code = match envelope.kind {
            Kind::Error { code } => code,
            _ => 0,
        };
        self.room -= 1;
        self.sent.push((envelope.id, code, body.len()));
        Ok(())
    }

    fn close(&mut self, _: ConnectionId, why: Goodbye) {
        self.closed = Some(why.code);
    }

    fn abort(&mut self, _: ConnectionId) {}

    fn peer(&self, _: ConnectionId) -> Option<&Peer> {
        None
    }

    fn stop_accepting(&mut self) {}

    fn waker(&self) -> Waker {
        Waker::new(|| {})
    }

    fn endpoint(&self) -> &str {
        "a test"
    }
}

fn messages(room: usize, limit: usize) -> Messages {
    Messages { room, limit, sent: Vec::new(), closed: None }
}

fn answers(memory: usize) -> (Answers, Account) {
    let limits = Limits { message: 1000, memory, memory_per_user: memory, ..Limits::default() };
    let account = Account::new(limits);
    (Answers::new(account.share(&Peer { same_user: true, ..Peer::default() })), account)
}

#[test]
fn what_is_held_is_sent_in_order_and_nothing_overtakes_it() {
    let (mut answers, account) = answers(1 << 20);
    let mut messages = messages(1, 1000);
    for id in 1..=4 {
        answers.send(&mut messages, CALLER, id, Ok(vec![0; 100].into()));
    }
    assert_eq!(account.held(), 3 * (100 + ANSWER_COST));
    messages.room = 1;
    answers.go_on(&mut messages, CALLER);
    // There is room again, but earlier replies are held.
    messages.room = 1;
    answers.send(&mut messages, CALLER, 5, Ok(vec![0; 100].into()));
    assert_eq!(account.held(), 3 * (100 + ANSWER_COST));
    messages.room = 10;
    answers.go_on(&mut messages, CALLER);
    let ids: Vec<_> = messages.sent.iter().map(|(id, ..)| *id).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    assert!(answers.is_empty());
    assert_eq!(account.held(), 0);
}

/// Each reply costs its entry, even without bytes.
#[test]
fn without_memory_a_reply_is_dropped_and_its_caller_told_and_an_error_is_held() {
    let memory = Limits { message: 1000, memory: 0, ..Limits::default() }.clamped().memory;
    let (mut answers, account) = answers(memory);
    let fit = memory.div_ceil(ANSWER_COST) as u32;
    let mut messages = messages(0, 1000);
    for id in 1..=fit {
        answers.send(&mut messages, CALLER, id, Ok(Bytes::new()));
    }
    answers.send(&mut messages, CALLER, fit + 1, Ok(Bytes::new()));
    answers.send(&mut messages, CALLER, fit + 2, Err(ErrorReply::new(77, "kept")));
    assert!(account.held() >= memory);
    messages.room = usize::MAX;
    answers.go_on(&mut messages, CALLER);
    let codes: Vec<_> = messages.sent.iter().map(|(_, code, _)| *code).collect();
    assert!(codes[..fit as usize].iter().all(|&code| code == 0), "one that fits was dropped");
    assert_eq!(codes[fit as usize..], [ErrorReply::REPLY_DROPPED, 77]);
    assert_eq!(account.held(), 0);
}

#[test]
fn an_answer_that_does_not_fit_is_shortened_to_the_byte_and_where_none_fits_the_caller_goes() {
    // A reply becomes an error reply; an error reply keeps its code.
    for (answer, code) in [
        (Ok(Bytes::from(vec![0; 1000])), ErrorReply::REPLY_TOO_LARGE),
        (Err(ErrorReply::new(77, "x".repeat(1000))), 77),
    ] {
        for limit in [ENVELOPE_LEN - 1, ENVELOPE_LEN, ENVELOPE_LEN + 10] {
            let (mut answers, _account) = answers(1 << 20);
            let mut messages = messages(1, limit);
            answers.send(&mut messages, CALLER, 1, answer.clone());
            if limit < ENVELOPE_LEN {
                assert_eq!(messages.closed, Some(GoodbyeCode::TOO_LARGE));
                assert!(messages.sent.is_empty());
            } else {
                assert_eq!(messages.sent, [(1, code, limit - ENVELOPE_LEN)]);
                assert_eq!(messages.closed, None);
            }
            assert!(answers.is_empty());
        }
    }
}
