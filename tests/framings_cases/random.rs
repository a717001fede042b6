//! Random streams for the property tests of the plain framings.

use crate::framings_cases::{Plain, Stream};
use bytes::Bytes;
use proptest::prelude::*;

fn framings() -> impl Strategy<Value = Plain> {
    let limit = prop_oneof![Just(0_usize), Just(1), 2..40_usize, Just(5000), Just(usize::MAX)];
    prop_oneof![
        (any::<bool>(), any::<bool>(), limit.clone())
            .prop_map(|(big, counted, limit)| Plain::LengthPrefix { big, counted, limit }),
        limit.prop_map(|limit| Plain::Lines { limit }),
    ]
}

/// Small numbers make lengths that are plausible, and 10 is a line feed.
fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![2 => 0..=12_u8, 1 => Just(b'\r'), 3 => any::<u8>()];
    prop::collection::vec(byte, 0..=most)
}

fn messages() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        4 => bytes(45).prop_map(Bytes::from),
        // What is queued whole, without a copy; and the largest limit that is tried.
        1 => (4094..=4098_usize, any::<u8>()).prop_map(|(size, byte)| vec![byte; size].into()),
        1 => (4999..=5001_usize, any::<u8>()).prop_map(|(size, byte)| vec![byte; size].into()),
    ]
}

/// Any messages in any of the framings, cut in any way.
pub fn whole() -> impl Strategy<Value = Stream> {
    let piece = prop_oneof![Just(1), 1..20_usize, 1000..5000_usize, Just(usize::MAX)];
    let pieces = prop::collection::vec(piece, 1..8);
    (framings(), prop::collection::vec(messages(), 0..8), pieces)
        .prop_map(|(framing, messages, pieces)| Stream { framing, messages, pieces, damage: None })
}

/// The same with any damage, up to random bytes.
pub fn damaged() -> impl Strategy<Value = Stream> {
    (whole(), any::<usize>(), 0..30_usize, bytes(60))
        .prop_map(|(stream, at, out, new)| Stream { damage: Some((at, out, new)), ..stream })
}
