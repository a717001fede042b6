//! Fairness: who sends next, and in pieces of what size.

use super::pair::{Pair, carry, costing, events, frames, kinds, message, messages, opening};
use super::pair::{take, windows};
use crate::exchange::MESSAGE_COST;
use crate::exchange::frame::{Frame, HEAD_MAX, Kind};
use crate::exchange::machine::{Config, Machine, PIECE, PIECE_ALONE, PIECE_OF_LARGE};
use std::time::Instant;

const DATA: Kind = Kind::Data { method: 0 };

/// Credit for everything.
fn rich() -> Config {
    Config { queue: 1 << 30, ..windows(1 << 40, 1 << 40) }
}

fn next(machine: &mut Machine<()>) -> Frame {
    machine.transmit(Instant::now()).expect("there is a frame")
}

#[test]
fn a_small_call_overtakes_a_large_one() {
    let mut pair = Pair::new(rich());
    let large = pair.open(10 << 20, true);
    assert_eq!(next(&mut pair.client).body.len(), PIECE_OF_LARGE, "it is alone");
    let small = pair.open(10, true);
    let sent = [next(&mut pair.client), next(&mut pair.client)];
    let at = sent.iter().position(|frame| frame.id == small).expect("it waits for more");
    assert!(sent[..at].iter().all(|frame| frame.id == large && frame.body.len() <= PIECE));
}

#[test]
fn pieces_are_small_while_several_send_and_large_for_one() {
    let mut pair = Pair::new(rich());
    let [first, second] = [pair.call(false), pair.call(false)];
    pair.client.send(first, message(5 << 20, true)).unwrap();
    pair.client.send(second, message(1 << 20, true)).unwrap();
    let sent = frames(&mut pair.client, pair.now);
    let end = sent.iter().position(|frame| frame.id == second && frame.ends_stream).unwrap();
    let largest = |frames: &[Frame]| frames.iter().map(|frame| frame.body.len()).max();
    assert_eq!(largest(&sent[..=end]), Some(PIECE));
    assert_eq!(largest(&sent[end + 1..]), Some(PIECE_OF_LARGE));
    assert_eq!(sent.last().map(|frame| frame.id), Some(first));
    // One message that is alone is one frame up to a size.
    for (size, pieces) in [(PIECE_ALONE - 1, 1), (PIECE_ALONE, 1), (PIECE_ALONE + 1, 22)] {
        let mut pair = Pair::new(rich());
        pair.open(size, true);
        let sent = frames(&mut pair.client, pair.now);
        assert_eq!(sent.iter().filter(|frame| !frame.body.is_empty()).count(), pieces, "{size}");
    }
}

#[test]
fn large_messages_take_turns() {
    let mut pair = Pair::new(rich());
    let ids = [1, 2, 3].map(|_| pair.call(false));
    ids.iter().for_each(|id| pair.client.send(*id, message(20 * PIECE, true)).unwrap());
    pair.client.notify(message(20 * PIECE, false)).unwrap();
    let mut sent = [0; 4];
    for frame in frames(&mut pair.client, pair.now) {
        let at = ids.iter().position(|id| *id == frame.id).unwrap_or(3);
        sent[at] += frame.body.len();
        let [least, most] = [sent.iter().min().unwrap(), sent.iter().max().unwrap()];
        assert!(most - least <= PIECE, "{sent:?}");
    }
    assert_eq!(sent, [20 * PIECE; 4]);
}

#[test]
fn a_stream_of_small_messages_lets_others_send() {
    for size in [0, 1, 100] {
        let mut pair = Pair::new(rich());
        let stream = pair.open(size, false);
        for _ in 0..1000 {
            pair.client.send(stream, message(size, false)).unwrap();
        }
        let other = pair.open(size, true);
        let sent = frames(&mut pair.client, pair.now);
        let at = sent.iter().position(|frame| frame.id == other).unwrap();
        // A message costs something, whatever its size.
        let most = PIECE / (size + MESSAGE_COST as usize);
        // In one turn there are more messages than one, since switching has a price.
        assert!((10..=most + 1).contains(&at), "{at} messages of {size} bytes");
    }
}

#[test]
fn messages_of_a_call_keep_their_order_and_its_end_comes_last() {
    let mut pair = Pair::new(rich());
    let id = pair.call(true);
    for size in [5, 3 * PIECE, 0] {
        pair.server.send(id, message(size, false)).unwrap();
    }
    pair.server.end(id).unwrap();
    pair.pass();
    let bodies = messages(&mut pair.client);
    assert_eq!(bodies.iter().map(|it| it.1.len()).collect::<Vec<_>>(), [5, 3 * PIECE, 0]);
}

#[test]
fn control_frames_overtake_messages() {
    let mut pair = Pair::new(rich());
    let [cancelled, stopped] = [pair.call(false), pair.call(false)];
    let large = pair.open(10 << 20, true);
    assert_eq!(next(&mut pair.client).id, large);
    pair.client.cancel(cancelled);
    assert_eq!(kinds(&[next(&mut pair.client)]), [(Kind::Cancel, cancelled)]);
    pair.client.stop(stopped);
    pair.client.end(stopped).unwrap();
    pair.client.drain();
    let sent = kinds(&[next(&mut pair.client), next(&mut pair.client), next(&mut pair.client)]);
    assert_eq!(sent, [(Kind::Drain, 0), (DATA, stopped), (Kind::Stop, stopped)]);
    assert_eq!(next(&mut pair.client).id, large);
}

#[test]
fn requests_leave_in_the_order_of_their_ids() {
    let mut pair = Pair::new(windows(1000, 1000));
    // The third waits for credit, and the fourth, which would have it, for the third.
    let ids = [500, 400, 200, 64].map(|charge| pair.open(costing(charge), true));
    pair.pass();
    let arrived = messages(&mut pair.server);
    assert_eq!(arrived.iter().map(|it| it.0).collect::<Vec<_>>(), ids[..2]);
    arrived.iter().for_each(|(id, _, charge)| take(&mut pair.server, *id, *charge));
    pair.pass();
    let arrived = messages(&mut pair.server);
    assert_eq!(arrived.iter().map(|it| it.0).collect::<Vec<_>>(), ids[2..]);
}

/// A message that waits for the credit of the connection is the next to have it, whoever else could use what
/// is left.
#[test]
fn small_messages_do_not_overtake_one_that_waits_for_credit() {
    let mut pair = Pair::new(windows(1000, 1000));
    let [large, small] = [pair.call(false), pair.call(false)];
    // The requests have used 134 of 1000.
    pair.client.send(small, message(costing(400), false)).unwrap();
    pair.pass();
    pair.client.send(large, message(costing(480), false)).unwrap();
    assert_eq!(frames(&mut pair.client, pair.now), []);
    for _ in 0..5 {
        pair.client.send(small, message(costing(70), false)).unwrap();
        assert_eq!(frames(&mut pair.client, pair.now), []);
    }
    let arrived = messages(&mut pair.server);
    let [(id, _, charge)] = arrived[..] else { panic!("{arrived:?}") };
    take(&mut pair.server, id, charge);
    carry(&mut pair.server, &mut pair.client, pair.now);
    let sent = frames(&mut pair.client, pair.now);
    assert_eq!(sent.first().map(|frame| frame.id), Some(large));
}

#[test]
fn the_replies_that_nobody_takes_hold_back_nothing_else() {
    let mut pair = Pair::new(windows(1000, 1000));
    for _ in 0..10 {
        let id = pair.call(true);
        pair.server.send(id, message(costing(450), true)).unwrap();
        pair.server.release(id);
    }
    pair.server.open(opening(costing(450), true), ()).unwrap();
    pair.pass();
    let arrived = events(&mut pair.client).len();
    assert_eq!(arrived, 11, "replies, and a call of the server");
}

#[test]
fn no_frame_is_larger_than_the_peer_takes() {
    for most in [HEAD_MAX + 10, HEAD_MAX + 100, HEAD_MAX + PIECE - 1] {
        let mut pair = Pair::new(rich());
        pair.client.set_largest_frame(most);
        let ids = [pair.open(3 * PIECE, true), pair.open(5, true)];
        let sent = frames(&mut pair.client, pair.now);
        assert!(sent.iter().all(|frame| frame.size() <= most));
        let bytes: usize = sent.iter().map(|frame| frame.body.len()).sum();
        assert_eq!((bytes, sent.last().map(|it| it.id)), (3 * PIECE + 5, Some(ids[0])));
    }
}

#[test]
fn a_call_that_is_withdrawn_is_not_sent_and_the_next_one_is() {
    let mut pair = Pair::new(rich());
    let [first, second] = [pair.open(3, true), pair.open(4, true)];
    pair.client.cancel(first);
    let sent = frames(&mut pair.client, pair.now);
    assert_eq!(sent.iter().map(|frame| frame.id).collect::<Vec<_>>(), [second]);
}
