//! Random streams for the property tests of the framing.

use crate::framing_cases::{Case, Damage, LIMIT};
use bytes::Bytes;
use proptest::prelude::*;

/// Sizes around every number that means something: nothing, a page of mio's, a socket's buffer, the
/// limit.
fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        3 => Just(0),
        3 => Just(1),
        3 => 0..200_usize,
        3 => 4079..=4097_usize,
        1 => Just(8192),
        1 => Just(65_536),
        1 => LIMIT - 1..=LIMIT,
        1 => Just(LIMIT + 1),
    ]
}

fn messages() -> impl Strategy<Value = Bytes> {
    // A few random bytes, repeated: as good as all random ones, and much faster to make.
    (sizes(), prop::collection::vec(any::<u8>(), 1..40))
        .prop_map(|(size, pattern)| pattern.iter().copied().cycle().take(size).collect())
}

fn damages() -> impl Strategy<Value = Damage> {
    prop_oneof![
        3 => (any::<usize>(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        1 => (any::<usize>(), any::<[u8; 8]>()).prop_map(|(at, bytes)| Damage::Overwrite(at, bytes)),
        1 => any::<usize>().prop_map(Damage::Cut),
        1 => (any::<usize>(), 1..100_usize).prop_map(|(at, len)| Damage::Remove(at, len)),
        1 => (any::<usize>(), 1..100_usize).prop_map(|(at, len)| Damage::Repeat(at, len)),
        1 => (any::<usize>(), prop::collection::vec(any::<u8>(), 1..20))
            .prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
    ]
}

/// Sizes of pieces: single bytes, small ones, what a read brings, and everything at once.
fn pieces() -> impl Strategy<Value = Vec<usize>> {
    let piece = prop_oneof![Just(1), 1..20_usize, 4000..5000_usize, Just(usize::MAX)];
    prop::collection::vec(piece, 1..8)
}

/// Streams that arrive as they were sent.
pub fn whole() -> impl Strategy<Value = Case> {
    (prop::collection::vec(messages(), 0..8), pieces()).prop_map(|(messages, pieces)| Case {
        messages,
        pieces,
        damage: None,
    })
}

/// Damaged streams.
pub fn damaged() -> impl Strategy<Value = Case> {
    (whole(), damages()).prop_map(|(case, damage)| Case { damage: Some(damage), ..case })
}
