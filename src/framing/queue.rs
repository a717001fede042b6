//! The send queue of one connection.

use super::READ_CHUNK;
use crate::body::Body;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::IoSlice;

/// Bodies from this size on are queued without a copy. Smaller ones are copied after the others, so
/// that many small messages are sent in one piece. At 4 KiB a copy costs less than one more slice in
/// a gathering write.
const COPY_BELOW: usize = 4096;

/// The first allocation of a queue: room for some small messages. Otherwise one message would make it grow
/// three times: with its header, its head and its body.
const FIRST_CAPACITY: usize = 512;

/// The send queue of a connection: [`Encoder`](super::Encoder)s fill it, transports send and remove its bytes, in
/// order. It can borrow bytes that are sent at once, for `'a`; a queue that is kept owns all its bytes. An
/// empty queue holds no memory.
///
/// ```
/// let mut queue = msgpipe::framing::SendQueue::default();
/// queue.put_slice(b"head ");
/// queue.put_bytes("body");
/// assert_eq!(queue.len(), 9);
/// queue.advance(5); // a transport has sent 5 bytes
/// assert_eq!(queue.to_bytes(), "body");
/// ```
#[derive(Debug, Default)]
pub struct SendQueue<'a> {
    /// Whole pieces, the first of them to be sent first; then comes `tail`.
    pieces: VecDeque<Body<'a>>,
    tail: BytesMut,
    len: usize,
    /// The number of pieces at the front that are known not to share a larger buffer.
    copied: usize,
    /// The bytes that were written to `tail` since its buffer was lent; `None`: it was not lent. A lent buffer is
    /// kept when the queue is empty, until it is taken back. (The capacity does not tell the buffer's size: it
    /// shrinks as bytes are sent.)
    lent: Option<usize>,
}

/// A lent buffer to which more bytes than this were written is freed: it has grown for many messages.
const LENT_MAX: usize = 32 * 1024;

/// Pieces up to this size may be slices of a shared read buffer ([`READ_CHUNK`]), which they keep allocated.
/// Larger messages are read into buffers of their own.
const SHARED_MAX: usize = READ_CHUNK;

impl<'a> SendQueue<'a> {
    /// Lends `memory` to an empty queue, for small messages.
    pub(crate) fn lend(&mut self, memory: &mut BytesMut) {
        if self.is_empty() {
            (self.tail, self.lent) = (std::mem::take(memory), Some(0));
        }
    }

    /// Takes the memory of an empty queue back, to lend it to the next one.
    pub(crate) fn take_back(&mut self, memory: &mut BytesMut) {
        if self.is_empty() {
            let SendQueue { mut tail, lent, .. } = std::mem::take(self);
            tail.clear();
            if lent.is_some_and(|taken| taken <= LENT_MAX) && !memory.try_reclaim(1) {
                *memory = tail;
            }
        }
    }

    /// Appends a copy of `bytes`.
    pub fn put_slice(&mut self, bytes: &[u8]) {
        if self.tail.capacity() == 0 {
            self.tail.reserve(bytes.len().max(FIRST_CAPACITY));
        }
        self.tail.put_slice(bytes);
        self.len += bytes.len();
        self.lent = self.lent.map(|taken| taken + bytes.len());
    }

    /// Appends `bytes`, without a copy from 4 KiB on.
    pub fn put_bytes(&mut self, bytes: impl Into<Body<'a>>) {
        let bytes = bytes.into();
        match bytes.len() < COPY_BELOW {
            true => self.put_slice(&bytes),
            false => self.put_message(bytes),
        }
    }

    /// Appends `message` as a separate piece, for [`Carrier::Messages`](super::Carrier::Messages).
    ///
    /// ```
    /// use std::io::IoSlice;
    /// let mut queue = msgpipe::framing::SendQueue::default();
    /// queue.put_message("one");
    /// queue.put_message("two");
    /// assert_eq!(queue.slices(&mut [IoSlice::new(&[]); 4]), 2);
    /// ```
    pub fn put_message(&mut self, message: impl Into<Body<'a>>) {
        let message = message.into();
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze().into());
        }
        self.len += message.len();
        self.pieces.push_back(message);
    }

    /// Copies pieces that may share a larger buffer, so that a queue that is kept holds no more memory than its
    /// bytes. Otherwise a peer that does not read could keep a whole read buffer allocated with each piece.
    pub(crate) fn copy_shared(&mut self) {
        for piece in self.pieces.iter_mut().skip(self.copied) {
            if piece.len() <= SHARED_MAX {
                *piece = Bytes::copy_from_slice(piece).into();
            }
        }
        self.copied = self.pieces.len();
    }

    /// The same queue with borrowed bytes copied.
    pub(crate) fn into_owned(self) -> SendQueue<'static> {
        let SendQueue { pieces, tail, len, copied, .. } = self;
        let pieces = pieces.into_iter().map(|piece| piece.into_bytes().into()).collect();
        SendQueue { pieces, tail, len, copied, lent: None }
    }

    /// The number of bytes in the queue.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the queue is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills `slices` with the next bytes to send and returns how many slices it filled.
    pub fn slices<'s>(&'s self, slices: &mut [IoSlice<'s>]) -> usize {
        let tail = (!self.tail.is_empty()).then_some(&self.tail[..]);
        let all = self.pieces.iter().map(|piece| &piece[..]).chain(tail);
        let mut filled = 0;
        for (slot, piece) in slices.iter_mut().zip(all) {
            *slot = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    /// Removes the first `sent` bytes: they have been sent.
    ///
    /// # Panics
    /// If the queue has fewer than `sent` bytes.
    pub fn advance(&mut self, mut sent: usize) {
        assert!(sent <= self.len, "{sent} bytes sent of {} queued", self.len);
        self.len -= sent;
        while let Some(first) = self.pieces.front_mut() {
            if sent < first.len() {
                return first.advance(sent);
            }
            sent -= first.len();
            self.pieces.pop_front();
            self.copied = self.copied.saturating_sub(1);
        }
        self.tail.advance(sent);
        if self.len == 0 && self.lent.is_none() {
            *self = SendQueue::default();
        }
    }

    /// A copy of all bytes, in one piece.
    pub fn to_bytes(&self) -> Bytes {
        let mut all = BytesMut::with_capacity(self.len);
        self.pieces.iter().for_each(|piece| all.put_slice(piece));
        all.put_slice(&self.tail);
        all.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_between_copied_and_whole_pieces() {
        for size in [COPY_BELOW - 1, COPY_BELOW, COPY_BELOW + 1] {
            let mut queue = SendQueue::default();
            let mut expected = Vec::new();
            for round in 0..3u8 {
                let body = vec![round; size];
                queue.put_slice(&[0xFF, round]);
                queue.put_bytes(body.clone());
                expected.extend([0xFF, round]);
                expected.extend(body);
            }
            assert_eq!(queue.to_bytes(), expected);
            let mut sent: Vec<u8> = Vec::new();
            while !queue.is_empty() {
                let mut slices = [IoSlice::new(&[]); 2];
                let filled = queue.slices(&mut slices);
                let first: Vec<u8> =
                    slices[..filled].iter().flat_map(|s| s.iter().copied()).collect();
                let step = first.len().min(1000);
                sent.extend(&first[..step]);
                queue.advance(step);
            }
            assert_eq!(sent, expected);
        }
    }

    #[test]
    fn a_whole_piece_is_not_copied() {
        let body = Bytes::from(vec![7; COPY_BELOW]);
        let mut queue = SendQueue::default();
        queue.put_bytes(body.clone());
        let mut slices = [IoSlice::new(&[])];
        queue.slices(&mut slices);
        assert_eq!(slices[0].as_ptr(), body.as_ptr());
    }

    /// Not even if it is a slice of a larger buffer.
    #[test]
    fn a_queue_that_is_kept_holds_no_more_than_its_bytes() {
        let large = Bytes::from(vec![7; 1 << 20]);
        let mut queue = SendQueue::default();
        let sizes = [COPY_BELOW, SHARED_MAX, SHARED_MAX + 1];
        sizes.iter().for_each(|&size| queue.put_bytes(large.slice(..size)));
        let is_shared = |queue: &SendQueue| -> Vec<bool> {
            let within = large.as_ptr_range();
            queue.pieces.iter().map(|piece| within.contains(&piece.as_ptr())).collect()
        };
        assert_eq!(is_shared(&queue), [true; 3]);
        queue.copy_shared();
        assert_eq!(is_shared(&queue), [false, false, true]);
        // Each piece once, whatever is sent meanwhile.
        let second = queue.pieces[1].as_ptr();
        queue.advance(COPY_BELOW);
        queue.put_bytes(large.slice(..5000));
        queue.copy_shared();
        assert_eq!(
            (queue.pieces[0].as_ptr(), is_shared(&queue)),
            (second, vec![false, true, false])
        );
    }

    #[test]
    fn an_emptied_queue_holds_no_memory() {
        let mut queue = SendQueue::default();
        queue.put_slice(&[1; 5000]);
        queue.put_bytes(vec![2; 5000]);
        queue.advance(10_000);
        assert_eq!((queue.tail.capacity(), queue.pieces.capacity()), (0, 0));
    }

    #[test]
    fn a_lent_buffer_is_taken_back_unless_it_has_grown_large() {
        for (size, is_kept) in [(LENT_MAX - 1, true), (LENT_MAX, true), (LENT_MAX + 1, false)] {
            let (mut queue, mut memory) = (SendQueue::default(), BytesMut::new());
            queue.lend(&mut memory);
            (0..size).for_each(|_| queue.put_slice(&[7]));
            queue.take_back(&mut memory);
            assert_eq!(
                (queue.len(), memory.capacity()),
                (size, 0),
                "a queue with bytes keeps its memory"
            );
            queue.advance(size);
            queue.take_back(&mut memory);
            assert_eq!(memory.try_reclaim(1), is_kept, "{size}");
            assert!(!memory.try_reclaim(4 * LENT_MAX));
        }
    }
}
