//! Waiting for memory: each rule on its own. The application holds the memory that
//! must be missing.

use super::clock::REPRIEVE;
use super::memory_tests::{Crowd, MEMORY, MESSAGE, frame, limits};
use super::waiting::STALLED;
use super::*;
use std::time::Duration;

/// With a large send queue for each connection.
fn with_long_queues() -> Limits {
    Limits { queued: MEMORY, ..limits() }
}

fn id(client: usize) -> ConnectionId {
    ConnectionId::from_number(client as u64)
}

impl Crowd {
    /// The application holds all but that many bytes, charged to this client.
    fn leaves(&self, client: usize, room: usize) -> usize {
        let share = self.connections.share(id(client)).unwrap();
        let bytes = share.room() - room;
        share.charge(bytes);
        bytes
    }

    /// It releases them.
    fn releases(&mut self, client: usize, bytes: usize) {
        self.connections.share(id(client)).unwrap().release(bytes);
        self.runs();
    }

    /// A client that does not read has that much in its queue.
    fn is_deaf_to(&mut self, client: usize, bytes: usize) {
        self.clients[client].takes(false);
        for piece in vec![1; bytes].chunks(MESSAGE) {
            let piece = Bytes::copy_from_slice(piece);
            assert!(self.connections.send(id(client), b"", piece).is_ok());
        }
        self.runs();
    }

    fn nobody_waits(&mut self) -> bool {
        self.runs();
        self.connections.waiting.look_at().is_none()
    }
}

#[test]
fn a_message_that_has_begun_does_not_wait_for_its_rest() {
    for size in [1000, MESSAGE] {
        let mut crowd = Crowd::new();
        let client = crowd.comes(0);
        let message = frame(size);
        crowd.says(client, &message[..size / 2]);
        crowd.leaves(client, 0);
        crowd.says(client, &message[size / 2..]);
        assert_eq!(crowd.heard(client), 1, "{size} bytes");
    }
}

#[test]
fn what_a_message_makes_the_application_hold_counts_before_the_next_one_read_with_it() {
    let mut crowd = Crowd::new();
    let client = crowd.comes(0);
    crowd.clients[client].says(&frame(1).repeat(3));
    crowd.connections.readable(id(client), false);
    crowd.connections.begin_turn(crowd.now);
    let first = crowd.connections.next(crowd.now);
    assert!(matches!(first, Some(Event::Message(..))), "{first:?}");
    let held = crowd.leaves(client, 0);
    crowd.runs();
    assert_eq!(crowd.heard(client), 0, "there was memory for another answer");
    crowd.releases(client, held);
    assert_eq!(crowd.heard(client), 2);
}

#[test]
fn what_one_sent_before_it_went_does_not_wait() {
    let mut crowd = Crowd::new();
    let (client, other) = (crowd.comes(0), crowd.comes(0));
    crowd.leaves(other, 0);
    crowd.connections.hung_up(id(client));
    crowd.says(client, &frame(1).repeat(3));
    assert_eq!(crowd.heard(client), 3);
}

/// Even if its bytes arrive just when memory becomes free.
#[test]
fn who_waits_does_not_get_before_those_who_wait_longer() {
    let mut crowd = Crowd::new();
    crowd.answers = MESSAGE;
    let (other, first, second) = (crowd.comes(0), crowd.comes(0), crowd.comes(0));
    let held = crowd.leaves(other, 0);
    for client in [first, second] {
        crowd.clients[client].takes(false);
        crowd.says(client, &frame(1));
    }
    crowd.connections.share(id(other)).unwrap().release(MESSAGE);
    crowd.says(second, &frame(1));
    assert_eq!((crowd.heard(first), crowd.heard(second)), (1, 0));
    crowd.releases(other, held - MESSAGE);
}

#[test]
fn the_time_of_a_message_does_not_count_while_it_waits() {
    let mut crowd = Crowd::new();
    let (client, other) = (crowd.comes(0), crowd.comes(0));
    let message = frame(MESSAGE);
    // Enough to begin a message, and too little for its rest.
    let held = crowd.leaves(other, MESSAGE + MESSAGE / 2);
    crowd.says(client, &message[..100_000]);
    let connection = &crowd.connections.table[&id(client)];
    assert!(matches!(connection.reading, Reading::WaitsForMemory(_)));
    assert!(connection.times.partial.is_some());
    crowd.waits(limits().message_time * 3);
    crowd.releases(other, held);
    crowd.waits(REPRIEVE * 2);
    crowd.says(client, &message[100_000..]);
    assert_eq!((crowd.heard(client), crowd.gone.len()), (1, 0));
}

#[test]
fn who_waits_and_goes_leaves_nothing_behind() {
    // Waiting to read, and to send; ended at once, and closed with a queue.
    for to_read in [false, true] {
        for cut_off in [false, true] {
            let mut crowd = Crowd::new();
            let (client, other) = (crowd.comes(0), crowd.comes(0));
            // Its end frees no memory, which would make the server check the waiting connections.
            if !cut_off {
                crowd.is_deaf_to(client, 10);
            }
            crowd.leaves(other, 0);
            if to_read {
                crowd.says(client, &frame(1));
                assert_eq!(crowd.heard(client), 0);
            } else {
                let refused = crowd.connections.send(id(client), b"", Bytes::new()).unwrap_err();
                assert!(matches!(refused.refusal, Refusal::Memory { .. }), "{refused}");
            }
            assert!(!crowd.nobody_waits());
            let now = crowd.now;
            match cut_off {
                true => crowd.connections.abort(id(client)),
                false => crowd.connections.close(id(client), &Goodbye::new(0, ""), now),
            }
            assert!(crowd.nobody_waits(), "to read: {to_read}, cut off: {cut_off}");
        }
    }
}

#[test]
fn who_was_refused_for_want_of_memory_is_told_when_there_is_some_and_not_before() {
    let mut crowd = Crowd::new();
    let (client, other) = (crowd.comes(0), crowd.comes(0));
    let held = crowd.leaves(other, 0);
    crowd.connections.send(id(client), b"", Bytes::new()).unwrap_err();
    let events = |crowd: &mut Crowd| {
        crowd.connections.begin_turn(crowd.now);
        std::iter::from_fn(|| crowd.connections.next(crowd.now)).collect::<Vec<_>>()
    };
    crowd.connections.flush(id(client), crowd.now);
    assert!(events(&mut crowd).is_empty());
    crowd.connections.share(id(other)).unwrap().release(held);
    let told = events(&mut crowd);
    assert!(matches!(told[..], [Event::Writable(to)] if to == id(client)), "{told:?}");
}

#[test]
fn who_holds_no_more_than_its_part_is_in_nobodys_way() {
    // Three clients: an even part is a third of the half.
    for (holds, goes) in [(MEMORY / 6 - 1000, false), (MEMORY / 6 + 1000, true)] {
        let mut crowd = Crowd::with(&with_long_queues());
        let (deaf, other, waits) = (crowd.comes(0), crowd.comes(0), crowd.comes(0));
        crowd.is_deaf_to(deaf, holds);
        crowd.leaves(other, 0);
        crowd.says(waits, &frame(1));
        assert_eq!(crowd.heard(waits), 0);
        crowd.waits(STALLED * 3);
        assert_eq!(crowd.gone.contains_key(&(deaf as u64)), goes, "{holds} bytes");
    }
}

#[test]
fn who_holds_most_goes_first() {
    let mut crowd = Crowd::with(&with_long_queues());
    let clients: Vec<_> = (0..8).map(|_| crowd.comes(0)).collect();
    for (client, bytes) in [(1, 2 * MESSAGE), (2, 3 * MESSAGE)] {
        crowd.is_deaf_to(client, bytes);
    }
    crowd.leaves(clients[0], 0);
    crowd.says(clients[7], &frame(1));
    crowd.waits(STALLED);
    assert_eq!(crowd.gone.keys().collect::<Vec<_>>(), [&2]);
}

#[test]
fn so_many_go_at_once_that_there_is_enough_to_begin_with() {
    let mut crowd = Crowd::with(&with_long_queues());
    let clients: Vec<_> = (0..100).map(|_| crowd.comes(0)).collect();
    for &client in &clients[1..21] {
        crowd.is_deaf_to(client, 100_000);
    }
    crowd.leaves(clients[0], 0);
    crowd.says(clients[99], &frame(1));
    crowd.waits(STALLED - Duration::from_nanos(1));
    assert_eq!((crowd.gone.len(), crowd.heard(clients[99])), (0, 0));
    crowd.waits(Duration::from_nanos(1));
    assert_eq!((crowd.gone.len(), crowd.heard(clients[99])), (MESSAGE / 100_000 + 1, 1));
}

/// Each holds less than the memory divided by the connections.
#[test]
fn many_small_ones_together_do_not_keep_all_the_memory() {
    let own = Limits { memory: MEMORY, ..with_long_queues() };
    let others = Limits { memory: 32 << 20, memory_per_user: MEMORY / 2, ..with_long_queues() };
    for (uid, bound, limits) in [(0, MEMORY, own), (1, MEMORY / 2, others)] {
        let mut crowd = Crowd::with(&limits);
        let clients: Vec<_> = (0..100).map(|_| crowd.comes(uid)).collect();
        for &client in &clients[1..] {
            crowd.is_deaf_to(client, bound / 100 - 1000);
        }
        crowd.says(clients[0], &frame(1));
        assert_eq!(crowd.heard(clients[0]), 0);
        crowd.waits(STALLED);
        assert_eq!(crowd.heard(clients[0]), 1, "user {uid}");
    }
}

/// A connection that waits for its user's part closes none of another user's connections; one that waits for the
/// common memory does.
#[test]
fn another_users_connections_go_only_for_the_memory_of_all() {
    for scarce_for_all in [false, true] {
        let limits = Limits { memory: 32 << 20, memory_per_user: 4 << 20, ..with_long_queues() };
        let mut crowd = Crowd::with(&limits);
        let deaf = crowd.comes(1);
        crowd.is_deaf_to(deaf, 3 * MESSAGE);
        let waits = (0..20).map(|_| crowd.comes(2)).last().unwrap();
        let own = crowd.comes(0);
        crowd.leaves(if scarce_for_all { own } else { waits }, 0);
        crowd.says(waits, &frame(1));
        assert_eq!(crowd.heard(waits), 0);
        crowd.waits(STALLED * 3);
        assert_eq!(crowd.gone.contains_key(&(deaf as u64)), scarce_for_all);
    }
}

#[test]
fn who_goes_on_with_its_message_is_in_nobodys_way() {
    let mut crowd = Crowd::new();
    let clients: Vec<_> = (0..20).map(|_| crowd.comes(0)).collect();
    let message = frame(MESSAGE);
    crowd.says(clients[1], &message[..100_000]);
    crowd.leaves(clients[0], 0);
    crowd.says(clients[2], &frame(1));
    assert_eq!(crowd.heard(clients[2]), 0);
    for piece in message[100_000..200_000].chunks(10_000) {
        crowd.waits(STALLED / 2);
        crowd.says(clients[1], piece);
    }
    assert_eq!(crowd.gone.len(), 0);
    crowd.waits(STALLED * 2);
    assert_eq!(crowd.gone.keys().collect::<Vec<_>>(), [&1]);
}

/// Its incomplete message is larger than its part, and it would send the rest if it were read.
#[test]
fn who_waits_is_not_blamed_for_it() {
    let mut crowd = Crowd::new();
    let clients: Vec<_> = (0..400).map(|_| crowd.comes(0)).collect();
    crowd.leaves(clients[0], MESSAGE);
    crowd.says(clients[1], &frame(MESSAGE)[..60_000]);
    let connection = &crowd.connections.table[&id(1)];
    assert!(connection.held.bytes() > MEMORY / 400);
    assert!(matches!(connection.reading, Reading::WaitsForMemory(_)));
    crowd.waits(STALLED * 3);
    assert_eq!(crowd.gone.len(), 0);
}

/// Large messages of another user that wait for memory hold their beginnings. An eighth of its part may
/// be taken by those; then no more are begun, as they could fill it until none can be completed.
#[test]
fn beginnings_that_wait_take_an_eighth_and_no_more() {
    const LARGE: usize = 128 * 1024;
    let limits = Limits { message: LARGE, ..limits() };
    let mut crowd = Crowd::with(&limits);
    let holder = crowd.comes(1);
    let each = limits.memory_per_user;
    let held = crowd.leaves(holder, each / 4);
    let message = frame(LARGE - 100);
    let begun: Vec<_> = (0..20).map(|_| crowd.comes(1)).collect();
    for &client in &begun {
        crowd.says(client, &message[..64_999]);
        crowd.says(client, &message[64_999..65_000]);
    }
    let parked = |crowd: &Crowd| {
        let table = crowd.connections.table.values();
        table.filter(|connection| connection.parked.is_some()).count()
    };
    let most = each / 8 / 64_000 + 1;
    assert!((most - 1..=most).contains(&parked(&crowd)), "{} have begun", parked(&crowd));
    // Once they are granted, others may begin before any of them is complete.
    let small = crowd.comes(1);
    crowd.says(small, &frame(1));
    assert_eq!(crowd.heard(small), 0);
    crowd.releases(holder, held);
    assert_eq!((crowd.heard(small), parked(&crowd)), (1, 0));
}
