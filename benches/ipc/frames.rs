//! Frames of the bare floor: a length of four bytes, little-endian, then the payload. As direct as
//! it can be: no limits, no checks, no envelope, and no copy of a large frame.

use std::ops::Range;

/// Bytes of a frame's length.
pub const HEADER: usize = 4;

/// What one read may bring before a larger frame has come by.
const FIRST_SIZE: usize = 16 * 1024;

/// What has arrived on one connection; it is kept for the next read and grows to the largest frame.
pub struct Inbox {
    bytes: Vec<u8>,
    /// What of `bytes` has arrived and was not taken.
    arrived: Range<usize>,
}

impl Inbox {
    pub fn new() -> Inbox {
        Inbox { bytes: vec![0; FIRST_SIZE], arrived: 0..0 }
    }

    /// The length of the first frame with its header, once that is there.
    fn first_len(&self) -> Option<usize> {
        let header = self.bytes[self.arrived.clone()].first_chunk::<HEADER>()?;
        Some(HEADER + u32::from_le_bytes(*header) as usize)
    }

    /// Where to read to: room for the rest of the frame under way at least.
    pub fn room(&mut self) -> &mut [u8] {
        if self.arrived.is_empty() {
            self.arrived = 0..0;
        }
        let wanted = self.first_len().unwrap_or(HEADER);
        if self.arrived.start + wanted > self.bytes.len() {
            self.bytes.copy_within(self.arrived.clone(), 0);
            self.arrived = 0..self.arrived.len();
            self.bytes.resize(self.bytes.len().max(wanted), 0);
        }
        &mut self.bytes[self.arrived.end..]
    }

    /// So much was read to there.
    pub fn filled(&mut self, read: usize) {
        self.arrived.end += read;
    }

    /// Takes the next whole frame; where it lies, header and all, until the next `room`.
    pub fn next(&mut self) -> Option<Range<usize>> {
        let len = self.first_len().filter(|len| *len <= self.arrived.len())?;
        let start = self.arrived.start;
        self.arrived.start += len;
        Some(start..start + len)
    }

    pub fn at(&self, frame: Range<usize>) -> &[u8] {
        &self.bytes[frame]
    }
}

/// What waits to be sent on one connection.
#[derive(Default)]
pub struct Replies {
    /// A single reply, where its request lies in the inbox.
    lone: Range<usize>,
    /// Several replies, and how much of them was sent.
    many: Vec<u8>,
    sent: usize,
}

impl Replies {
    /// Answers each frame of the inbox. All that were answered before must have been sent.
    pub fn answer(&mut self, inbox: &mut Inbox) {
        let Some(first) = inbox.next() else { return };
        let Some(mut next) = inbox.next() else {
            self.lone = first;
            return;
        };
        self.put(inbox.at(first));
        loop {
            self.put(inbox.at(next));
            match inbox.next() {
                Some(frame) => next = frame,
                None => return,
            }
        }
    }

    /// One frame at a time, as a server does that looks at what it is asked.
    fn put(&mut self, frame: &[u8]) {
        let (header, payload) = frame.split_at(HEADER);
        self.many.extend_from_slice(header);
        self.many.extend_from_slice(payload);
    }

    pub fn unsent<'a>(&'a self, inbox: &'a Inbox) -> &'a [u8] {
        match self.lone.is_empty() {
            true => &self.many[self.sent..],
            false => inbox.at(self.lone.clone()),
        }
    }

    /// So much of `unsent` was sent.
    pub fn advance(&mut self, sent: usize) {
        if !self.lone.is_empty() {
            self.lone.start += sent;
            return;
        }
        self.sent += sent;
        if self.sent == self.many.len() {
            self.many.clear();
            self.sent = 0;
        }
    }
}
