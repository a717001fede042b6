//! The read buffers: shared by all connections of a server, or of one client.
//!
//! A message is a slice of its read buffer. Once all messages of a buffer have been dropped, its memory is
//! reused: the system maps new memory page by page, which for a large message takes longer than reading it.

use bytes::BytesMut;

/// The size of one read, in bytes. 64 KiB is the default size of a socket's or a pipe's buffer, within a factor
/// of four; with headers on top, so that one read returns a message of 64 KiB.
pub(crate) const READ_CHUNK: usize = 64 * 1024 + 256;

/// A chunk is used further while at least this many bytes of it are free.
pub(super) const CHUNK_ROOM_MIN: usize = READ_CHUNK / 4;

/// A buffer of one large message is kept for the next one up to this size: a message of 1 MiB with its headers.
/// A server and each client keep one such buffer.
const LARGE_MAX: usize = (1 << 20) + READ_CHUNK;

/// See the [module](self).
#[derive(Default)]
pub(crate) struct ReadBuffers {
    /// The chunk: for whole messages, and the beginnings of large ones.
    chunk: BytesMut,
    /// The rest of the last buffer of a large message.
    large: BytesMut,
    /// The size of that buffer.
    large_size: usize,
}

impl ReadBuffers {
    /// The buffer for a connection that has kept at most `kept` bytes, with room for more.
    pub fn take_chunk(&mut self, kept: usize) -> BytesMut {
        let mut buffer = std::mem::take(&mut self.chunk);
        if buffer.capacity() - buffer.len() < CHUNK_ROOM_MIN + kept {
            buffer.reserve(READ_CHUNK);
        }
        buffer
    }

    /// Gives `buffer` room for the `missing` bytes of its message, if the kept buffer is large enough and its last
    /// message has been dropped. Otherwise gives it room for up to `arrived` bytes. Not more: a large message has a
    /// grant for its size, and a buffer that grows by itself takes up to twice that.
    ///
    /// `size` is the allocated size of `buffer`. Also returns that of the result, for
    /// [`give_back`](ReadBuffers::give_back). The capacity does not tell it: it ends with the message.
    pub fn with_room(
        &mut self,
        buffer: BytesMut,
        size: usize,
        missing: usize,
        arrived: usize,
    ) -> (BytesMut, usize) {
        let (whole, needed) = (buffer.len() + missing, buffer.len() + arrived.min(missing));
        // A buffer that has grown is filled before it grows again: each time all of it is copied.
        let has_grown = size > READ_CHUNK;
        let has_room = has_grown && buffer.capacity() - buffer.len() >= missing.min(CHUNK_ROOM_MIN);
        if has_room || buffer.capacity() >= needed {
            let size = size.max(buffer.capacity());
            return (buffer, size);
        }
        let fits = whole <= self.large_size && self.large_size <= whole + whole / 8;
        let (mut larger, size) = match fits && self.large.try_reclaim(whole) {
            true => (std::mem::take(&mut self.large), self.large_size),
            // One that takes no more than a chunk is made at once, and not copied at each piece until it has grown.
            false => {
                let needed = needed.max(whole.min(READ_CHUNK + 1));
                (BytesMut::with_capacity(needed), needed)
            }
        };
        // The message ends where its buffer does: no small message that follows can keep the buffer allocated.
        if larger.capacity() > whole {
            larger.truncate(0);
            drop(larger.split_off(whole));
        }
        larger.extend_from_slice(&buffer);
        let size = size.max(larger.capacity());
        (larger, size)
    }

    /// Takes back the memory of an unused buffer: `size` bytes, of which messages may hold some.
    pub fn give_back(&mut self, mut buffer: BytesMut, size: usize) {
        buffer.clear();
        let size = size.max(buffer.capacity());
        if size > READ_CHUNK {
            if size <= LARGE_MAX {
                (self.large, self.large_size) = (buffer, size);
            }
        } else if self.chunk.capacity() == 0 {
            self.chunk = buffer;
        }
    }

    #[cfg(test)]
    pub fn chunk(&self) -> &BytesMut {
        &self.chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a message of this size after its first chunk has arrived.
    fn read(buffers: &mut ReadBuffers, size: usize) -> (BytesMut, usize) {
        let mut buffer = buffers.take_chunk(0);
        buffer.extend_from_slice(&vec![1; READ_CHUNK]);
        let (mut buffer, allocated) = buffers.with_room(buffer, 0, size - READ_CHUNK, usize::MAX);
        buffer.resize(size, 2);
        (buffer, allocated)
    }

    /// Reads the rest of a message of `whole` bytes in small pieces. Returns how often it moved: each time it is copied.
    fn moves(buffers: &mut ReadBuffers, mut buffer: BytesMut, whole: usize) -> usize {
        let (mut size, mut moves) = (0, 0);
        while buffer.len() < whole {
            let (before, len) = (buffer.as_ptr(), buffer.len());
            (buffer, size) = buffers.with_room(buffer, size, whole - len, len);
            assert!(size <= 2 * len + READ_CHUNK, "it grows with what has arrived: {size}, {len}");
            assert!(buffer.capacity() > len);
            moves += usize::from(buffer.as_ptr() != before);
            buffer.resize((len + 64).min(whole), 2);
        }
        moves
    }

    #[test]
    fn a_message_that_arrives_in_small_pieces_is_seldom_copied() {
        let mut buffers = ReadBuffers::default();
        let mut buffer = buffers.take_chunk(0);
        buffer.extend_from_slice(&vec![1; READ_CHUNK]);
        let moves = moves(&mut buffers, buffer, 1 << 20);
        assert!(moves <= 8, "{moves} copies");
    }

    /// Of the chunk that it begins in little is left.
    #[test]
    fn a_message_that_begins_in_a_used_chunk_is_seldom_copied() {
        for whole in [READ_CHUNK - 1000, READ_CHUNK, READ_CHUNK + 1, READ_CHUNK + 2, 1 << 20] {
            let mut buffers = ReadBuffers::default();
            let mut used = buffers.take_chunk(CHUNK_ROOM_MIN);
            let left = CHUNK_ROOM_MIN * 2;
            used.resize(READ_CHUNK - left, 1);
            let messages = used.split().freeze();
            buffers.give_back(used, 0);
            let mut buffer = buffers.take_chunk(CHUNK_ROOM_MIN);
            assert_eq!(buffer.capacity(), left);
            buffer.resize(CHUNK_ROOM_MIN + 1, 2);
            let moves = moves(&mut buffers, buffer, whole);
            assert!(moves <= 8, "{moves} copies of {whole} bytes");
            drop(messages);
        }
    }

    #[test]
    fn the_memory_of_a_large_message_is_reused_once_the_message_is_dropped() {
        let mut buffers = ReadBuffers::default();
        for size in [READ_CHUNK + 1, 1 << 20, LARGE_MAX] {
            let (mut buffer, allocated) = read(&mut buffers, size);
            let first = buffer.as_ptr();
            let message = buffer.split().freeze();
            buffers.give_back(buffer, allocated);
            let (mut other, allocated) = read(&mut buffers, size);
            assert_ne!(other.as_ptr(), first, "a message still uses it");
            let first = other.as_ptr();
            drop((message, other.split()));
            buffers.give_back(other, allocated);
            assert_eq!(read(&mut buffers, size).0.as_ptr(), first);
        }
    }

    /// A small message in the rest of a large buffer would keep all of it.
    #[test]
    fn a_reused_buffer_has_room_for_its_message_and_nothing_else() {
        let mut buffers = ReadBuffers::default();
        let (first, size) = read(&mut buffers, 1 << 20);
        let memory = first.as_ptr();
        buffers.give_back(first, size);
        let (second, size) = read(&mut buffers, 1_000_000);
        assert_eq!((second.as_ptr(), second.capacity()), (memory, 1_000_000));
        assert!(size >= 1 << 20, "{size}");
    }

    /// Of a message a tenth smaller each time, the last one would keep a buffer of many times its size.
    #[test]
    fn a_reused_buffer_does_not_seem_smaller_each_time() {
        let mut buffers = ReadBuffers::default();
        let mut size = 1 << 20;
        while size > 2 * READ_CHUNK {
            let (buffer, allocated) = read(&mut buffers, size);
            assert!(allocated <= size + size / 8, "{allocated} for {size}");
            buffers.give_back(buffer, allocated);
            assert!(!buffers.large.try_reclaim(size + size / 4), "more than {allocated}");
            size -= size / 10;
        }
    }

    #[test]
    fn the_kept_buffer_has_a_limit_and_is_not_used_for_much_smaller_messages() {
        let mut buffers = ReadBuffers::default();
        for (size, is_kept) in [(LARGE_MAX - 1, true), (LARGE_MAX, true), (LARGE_MAX + 1, false)] {
            buffers.large = BytesMut::new();
            let (buffer, allocated) = read(&mut buffers, size);
            buffers.give_back(buffer, allocated);
            assert_eq!(buffers.large.capacity() > 0, is_kept, "{size}");
        }
        let (buffer, allocated) = read(&mut buffers, LARGE_MAX);
        buffers.give_back(buffer, allocated);
        let (small, _) = read(&mut buffers, 100_000);
        assert!(small.capacity() < 150_000, "{}", small.capacity());
    }
}
