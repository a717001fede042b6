//! Maps with ids as keys: numbers that this crate counts up, or that a peer chooses within its limits.
//!
//! The standard library's hasher resists keys that are chosen to collide, and that takes most of the time of
//! a look-up; a message needs a dozen look-ups. This side chooses the ids of connections. A peer chooses the
//! ids of its requests, but has at most [`Limits::in_flight`](crate::Limits::in_flight) of them at once, in
//! a table of its own.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub(crate) type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// Spreads the bits of one number: 2^64 divided by the golden ratio (Knuth, "The Art of Computer
/// Programming", 6.4) moves every bit up, the shift brings the upper ones down again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write_u64(&mut self, id: u64) {
        let product = (self.0 ^ id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = product ^ (product >> 32);
    }

    fn write_u32(&mut self, id: u32) {
        self.write_u64(id.into());
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// How many of 1024 buckets these 1024 ids use.
    fn buckets(ids: impl Iterator<Item = u64>) -> usize {
        let bucket = |id| {
            let mut hasher = IdHasher::default();
            hasher.write_u64(id);
            hasher.finish() % 1024
        };
        ids.take(1024).map(bucket).collect::<BTreeSet<_>>().len()
    }

    #[test]
    fn ids_that_are_counted_up_spread() {
        // Random ids would use 647.
        for step in [1, 2, 256, 1 << 16, 1 << 22] {
            let spread = buckets((0..).map(|number| 1000 + number * step));
            assert!(spread > 600, "{spread} buckets of ids {step} apart");
        }
    }
}
