//! Waiting for memory: each rule on its own. The application holds the memory that
//! must be missing.

use super::clock::GRACE;
use super::connection::Reading;
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
    fn leaves_unread(&mut self, client: usize, bytes: usize) {
        self.clients[client].takes(false);
        for piece in vec![1; bytes].chunks(MESSAGE) {
            let piece = Bytes::copy_from_slice(piece);
            assert!(self.connections.send(id(client), b"", piece).is_ok());
        }
        self.runs();
    }

    fn has_no_waiting(&mut self) -> bool {
        self.runs();
        self.connections.waiting.check_at().is_none()
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
fn memory_that_the_application_holds_for_a_message_counts_before_the_next_one() {
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
fn bytes_of_a_disconnected_peer_do_not_wait_for_memory() {
    let mut crowd = Crowd::new();
    let (client, other) = (crowd.comes(0), crowd.comes(0));
    crowd.leaves(other, 0);
    crowd.connections.hung_up(id(client));
    crowd.says(client, &frame(1).repeat(3));
    assert_eq!(crowd.heard(client), 3);
}

/// What it waits for may be held for itself, by the layer above: then only its end frees it.
#[test]
fn a_connection_that_waits_for_memory_ends_when_its_peer_has_gone() {
    for message in [frame(1), frame(MESSAGE)] {
        let mut crowd = Crowd::new();
        let client = crowd.comes(0);
        let room = if message.len() > 100 { MESSAGE + MESSAGE / 2 } else { 0 };
        crowd.leaves(client, room);
        crowd.says(client, &message[..message.len().min(100_000)]);
        assert!(matches!(crowd.connections.table[&id(client)].reading, Reading::WaitsForMemory(_)));
        crowd.connections.hung_up(id(client));
        crowd.runs();
        crowd.clients[client].fails_to_be_read(std::io::ErrorKind::ConnectionReset);
        crowd.connections.readable(id(client), true);
        crowd.runs();
        assert_eq!(crowd.gone.len(), 1, "it waits for its own end");
        assert!(crowd.has_no_waiting());
    }
}

/// Nothing reports it: a pipe's end comes after the bytes that are not read.
#[test]
fn a_connection_that_waits_for_memory_is_asked_whether_its_peer_has_gone() {
    for message in [frame(1), frame(MESSAGE)] {
        let mut crowd = Crowd::new();
        let (client, stays) = (crowd.comes(0), crowd.comes(0));
        crowd.leaves(client, if message.len() > 100 { MESSAGE + MESSAGE / 2 } else { 0 });
        for waits in [client, stays] {
            crowd.says(waits, &message[..message.len().min(100_000)]);
        }
        crowd.clients[client].goes_silently();
        crowd.waits(STALLED - Duration::from_nanos(1));
        let is_waiting = |crowd: &Crowd, client: usize| {
            let connection = crowd.connections.table.get(&id(client));
            connection.is_some_and(|it| matches!(it.reading, Reading::WaitsForMemory(_)))
        };
        assert!(is_waiting(&crowd, client) && is_waiting(&crowd, stays));
        crowd.waits(Duration::from_nanos(1));
        assert!(!is_waiting(&crowd, client) && is_waiting(&crowd, stays));
    }
}

/// A failed write says it at once.
#[test]
fn a_connection_that_waits_for_memory_ends_when_it_cannot_be_written_to() {
    for has_gone in [false, true] {
        let mut crowd = Crowd::with(&with_long_queues());
        let (client, other) = (crowd.comes(0), crowd.comes(0));
        crowd.leaves_unread(client, 10);
        crowd.leaves(other, 0);
        crowd.says(client, &frame(1));
        assert_eq!(crowd.heard(client), 0);
        if has_gone {
            crowd.clients[client].goes_silently();
        }
        crowd.clients[client].fails_to_be_written_to(std::io::ErrorKind::BrokenPipe);
        crowd.connections.writable(id(client));
        crowd.runs();
        // One that still sends has no right to memory that is not there.
        assert_eq!(crowd.heard(client), usize::from(has_gone));
    }
}

/// Even if its bytes arrive just when memory becomes free.
#[test]
fn a_waiting_connection_does_not_overtake_those_that_wait_longer() {
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
    crowd.waits(GRACE * 2);
    crowd.says(client, &message[100_000..]);
    assert_eq!((crowd.heard(client), crowd.gone.len()), (1, 0));
}

#[test]
fn a_waiting_connection_that_ends_leaves_no_entry() {
    // Waiting to read, and to send; ended at once, and closed with a queue.
    for to_read in [false, true] {
        for cut_off in [false, true] {
            let mut crowd = Crowd::new();
            let (client, other) = (crowd.comes(0), crowd.comes(0));
            // Its end frees no memory, which would make the server check the waiting connections.
            if !cut_off {
                crowd.leaves_unread(client, 10);
            }
            crowd.leaves(other, 0);
            if to_read {
                crowd.says(client, &frame(1));
                assert_eq!(crowd.heard(client), 0);
            } else {
                let refused = crowd.connections.send(id(client), b"", Bytes::new()).unwrap_err();
                assert!(matches!(refused.refusal, Refusal::Memory { .. }), "{refused}");
            }
            assert!(!crowd.has_no_waiting());
            let now = crowd.now;
            match cut_off {
                true => crowd.connections.abort(id(client)),
                false => crowd.connections.close(id(client), &Goodbye::new(0, ""), now),
            }
            assert!(crowd.has_no_waiting(), "to read: {to_read}, cut off: {cut_off}");
        }
    }
}

#[test]
fn a_send_refused_for_memory_is_reported_writable_once_there_is_memory() {
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
fn a_connection_with_no_more_than_its_even_part_is_not_closed() {
    // Three clients: an even part is a third of the half.
    for (holds, goes) in [(MEMORY / 6 - 1000, false), (MEMORY / 6 + 1000, true)] {
        let mut crowd = Crowd::with(&with_long_queues());
        let (unreading, other, waits) = (crowd.comes(0), crowd.comes(0), crowd.comes(0));
        crowd.leaves_unread(unreading, holds);
        crowd.leaves(other, 0);
        crowd.says(waits, &frame(1));
        assert_eq!(crowd.heard(waits), 0);
        crowd.waits(STALLED * 3);
        assert_eq!(crowd.gone.contains_key(&(unreading as u64)), goes, "{holds} bytes");
    }
}

#[test]
fn the_stalled_connection_that_holds_most_is_closed_first() {
    let mut crowd = Crowd::with(&with_long_queues());
    let clients: Vec<_> = (0..8).map(|_| crowd.comes(0)).collect();
    for (client, bytes) in [(1, 2 * MESSAGE), (2, 3 * MESSAGE)] {
        crowd.leaves_unread(client, bytes);
    }
    crowd.leaves(clients[0], 0);
    crowd.says(clients[7], &frame(1));
    crowd.waits(STALLED);
    assert_eq!(crowd.gone.keys().collect::<Vec<_>>(), [&2]);
}

#[test]
fn as_many_stalled_connections_are_closed_at_once_as_a_message_needs() {
    let mut crowd = Crowd::with(&with_long_queues());
    let clients: Vec<_> = (0..100).map(|_| crowd.comes(0)).collect();
    for &client in &clients[1..21] {
        crowd.leaves_unread(client, 100_000);
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
fn many_small_stalled_connections_together_do_not_keep_all_memory() {
    let own = Limits { memory: MEMORY, ..with_long_queues() };
    let others = Limits { memory: 32 << 20, memory_per_user: MEMORY / 2, ..with_long_queues() };
    for (uid, bound, limits) in [(0, MEMORY, own), (1, MEMORY / 2, others)] {
        let mut crowd = Crowd::with(&limits);
        let clients: Vec<_> = (0..100).map(|_| crowd.comes(uid)).collect();
        for &client in &clients[1..] {
            crowd.leaves_unread(client, bound / 100 - 1000);
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
fn another_users_connections_are_closed_only_for_the_common_memory() {
    for scarce_for_all in [false, true] {
        let limits = Limits { memory: 32 << 20, memory_per_user: 4 << 20, ..with_long_queues() };
        let mut crowd = Crowd::with(&limits);
        let unreading = crowd.comes(1);
        crowd.leaves_unread(unreading, 3 * MESSAGE);
        let waits = (0..20).map(|_| crowd.comes(2)).last().unwrap();
        let own = crowd.comes(0);
        crowd.leaves(if scarce_for_all { own } else { waits }, 0);
        crowd.says(waits, &frame(1));
        assert_eq!(crowd.heard(waits), 0);
        crowd.waits(STALLED * 3);
        assert_eq!(crowd.gone.contains_key(&(unreading as u64)), scarce_for_all);
    }
}

#[test]
fn a_connection_that_makes_progress_is_not_closed() {
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
fn a_connection_that_waits_for_memory_is_not_stalled() {
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
fn parked_beginnings_take_an_eighth_and_no_more() {
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
