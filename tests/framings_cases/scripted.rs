//! Makes streams of the fuzzer's bytes: each byte chooses the next element of the stream. Any number of bytes
//! is enough: after the last byte, zeros are read.

use crate::framings_cases::{Plain, Stream};
use bytes::Bytes;

/// Makes a stream of `bytes` and checks its properties.
pub fn check(bytes: &[u8]) {
    Script(bytes).stream().check();
}

/// The remaining bytes.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&byte, rest)) => {
                self.0 = rest;
                byte
            }
            None => 0,
        }
    }

    /// Up to `most` of the remaining bytes.
    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(usize::from(self.byte()).min(most).min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }

    fn stream(&mut self) -> Stream {
        let (choice, limit) = (self.byte(), self.byte());
        let limit = match limit {
            few @ 0..=199 => usize::from(few),
            200..=227 => 5000,
            _ => usize::MAX,
        };
        let (big, counted) = (choice & 1 != 0, choice & 2 != 0);
        let framing = match choice % 12 {
            8.. => Plain::Lines { limit },
            _ => Plain::LengthPrefix { big, counted, limit },
        };
        let pieces = (0..1 + self.byte() % 6).map(|_| self.piece()).collect();
        let is_damaged = self.byte() % 2 == 1;
        let damage = is_damaged.then(|| {
            let at = usize::from(self.byte()) << (self.byte() % 6);
            (at, usize::from(self.byte() % 30), self.bytes(60))
        });
        let count = self.byte() % 8;
        Stream { framing, messages: (0..count).map(|_| self.message()).collect(), pieces, damage }
    }

    fn piece(&mut self) -> usize {
        match usize::from(self.byte()) {
            0 => usize::MAX,
            few @ 1..=199 => few,
            more => 1000 + more,
        }
    }

    fn message(&mut self) -> Bytes {
        match self.byte() {
            choice @ 240.. => {
                let size = [4094, 4095, 4096, 4097, 4098, 4999, 5000, 5001];
                vec![self.byte(); size[usize::from(choice % 8)]].into()
            }
            _ => self.bytes(45).into(),
        }
    }
}
