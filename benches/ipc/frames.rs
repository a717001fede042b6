//! The frames of the bare floor: a length of four bytes, little-endian, then the payload. They have the least
//! possible overhead: no limits, no checks, no envelope, and no copy of a large frame.

use std::ops::Range;

/// The size of a frame's header, which holds the length of the payload.
pub const HEADER: usize = 4;

/// The initial size of the read buffer.
const FIRST_SIZE: usize = 16 * 1024;

/// The read buffer of one connection. It is reused for each read and grows to the largest frame.
pub struct Inbox {
    bytes: Vec<u8>,
    /// The part of `bytes` that has arrived and has not been taken.
    arrived: Range<usize>,
}

impl Inbox {
    pub fn new() -> Inbox {
        Inbox { bytes: vec![0; FIRST_SIZE], arrived: 0..0 }
    }

    /// The size of the first frame, header included. `None` until the header has arrived.
    fn first_len(&self) -> Option<usize> {
        let header = self.bytes[self.arrived.clone()].first_chunk::<HEADER>()?;
        Some(HEADER + u32::from_le_bytes(*header) as usize)
    }

    /// The buffer for the next read: at least the rest of the incomplete frame fits.
    pub fn spare(&mut self) -> &mut [u8] {
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

    /// `read` bytes have been read into `spare`.
    pub fn advance_end(&mut self, read: usize) {
        self.arrived.end += read;
    }

    /// Takes the next complete frame. Returns its range, header included, which is valid until the next
    /// `spare`.
    pub fn next(&mut self) -> Option<Range<usize>> {
        let len = self.first_len().filter(|len| *len <= self.arrived.len())?;
        let start = self.arrived.start;
        self.arrived.start += len;
        Some(start..start + len)
    }

    pub fn slice(&self, frame: Range<usize>) -> &[u8] {
        &self.bytes[frame]
    }
}

/// The send queue of one connection.
#[derive(Default)]
pub struct Replies {
    /// A single reply: the range of its request in the inbox.
    single: Range<usize>,
    /// Several replies; `sent` bytes of them have been sent.
    batch: Vec<u8>,
    sent: usize,
}

impl Replies {
    /// Echoes each complete frame of the inbox. All earlier replies must have been sent.
    pub fn answer(&mut self, inbox: &mut Inbox) {
        let Some(first) = inbox.next() else { return };
        let Some(mut next) = inbox.next() else {
            self.single = first;
            return;
        };
        self.append(inbox.slice(first));
        loop {
            self.append(inbox.slice(next));
            match inbox.next() {
                Some(frame) => next = frame,
                None => return,
            }
        }
    }

    /// Copies one frame at a time, header and payload apart, as a server that examines each request does.
    fn append(&mut self, frame: &[u8]) {
        let (header, payload) = frame.split_at(HEADER);
        self.batch.extend_from_slice(header);
        self.batch.extend_from_slice(payload);
    }

    pub fn unsent<'a>(&'a self, inbox: &'a Inbox) -> &'a [u8] {
        match self.single.is_empty() {
            true => &self.batch[self.sent..],
            false => inbox.slice(self.single.clone()),
        }
    }

    /// `sent` bytes of `unsent` have been sent.
    pub fn advance(&mut self, sent: usize) {
        if !self.single.is_empty() {
            self.single.start += sent;
            return;
        }
        self.sent += sent;
        if self.sent == self.batch.len() {
            self.batch.clear();
            self.sent = 0;
        }
    }
}
