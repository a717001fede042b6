//! The buffers that are read into: they serve all connections of a server, or one of a client.
//!
//! A message is a slice of the buffer it came in. Once all messages of a buffer have been dropped, its
//! memory is used again: new memory has to be mapped by the system page by page, which for a large
//! message takes longer than to read it.

use bytes::BytesMut;

/// How much is read at once, in bytes. 64 KiB is what the systems hold in a socket or a pipe by
/// default, within a factor of four; with what goes before a message, so that one of 64 KiB comes with
/// one read.
pub(crate) const READ_CHUNK: usize = 64 * 1024 + 256;

/// A chunk is continued while at least this much of it is free.
pub(super) const READ_ROOM: usize = READ_CHUNK / 4;

/// A buffer that was made for one large message is kept for the next one up to this size: a message of
/// 1 MiB with what goes before it. A server and each client keep one such buffer.
const LARGE_MOST: usize = (1 << 20) + READ_CHUNK;

/// See the [module](self).
#[derive(Default)]
pub(crate) struct ReadBuffers {
    /// For messages of any size, and the beginnings of large ones.
    chunk: BytesMut,
    /// What is left of the last buffer that was made for a large message.
    large: BytesMut,
    /// How large that buffer was.
    large_size: usize,
}

impl ReadBuffers {
    /// The buffer for whoever has kept at most `kept` bytes, with room for more than those.
    pub fn take_chunk(&mut self, kept: usize) -> BytesMut {
        let mut buffer = std::mem::take(&mut self.chunk);
        if buffer.capacity() - buffer.len() < READ_ROOM + kept {
            buffer.reserve(READ_CHUNK);
        }
        buffer
    }

    /// Gives `buffer` room for `missing` bytes, if the buffer that was kept has so much and nobody has
    /// its last message any more; else for the `earned` ones of them. No more than that: the memory of a
    /// large message is granted for its size, and a buffer that grows by itself takes up to twice that.
    pub fn with_room(&mut self, buffer: BytesMut, missing: usize, earned: usize) -> BytesMut {
        let (whole, needed) = (buffer.len() + missing, buffer.len() + earned.min(missing));
        if buffer.capacity() >= needed {
            return buffer;
        }
        let fits = whole <= self.large_size && self.large_size <= whole + whole / 2;
        let mut larger = match fits && self.large.try_reclaim(whole) {
            true => std::mem::take(&mut self.large),
            false => BytesMut::with_capacity(needed),
        };
        larger.extend_from_slice(&buffer);
        larger
    }

    /// Takes back a buffer of which nothing is needed any more but its memory: `size` bytes, of which
    /// messages may have taken some.
    pub fn give_back(&mut self, mut buffer: BytesMut, size: usize) {
        buffer.clear();
        let size = size.max(buffer.capacity());
        if size > READ_CHUNK {
            if size <= LARGE_MOST {
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

    /// Reads a message of this size whose first chunk has come.
    fn read(buffers: &mut ReadBuffers, size: usize) -> BytesMut {
        let mut buffer = buffers.take_chunk(0);
        buffer.extend_from_slice(&vec![1; READ_CHUNK]);
        let mut buffer = buffers.with_room(buffer, size - READ_CHUNK, usize::MAX);
        buffer.resize(size, 2);
        buffer
    }

    #[test]
    fn the_memory_of_a_large_message_is_used_again_once_nobody_has_it() {
        let mut buffers = ReadBuffers::default();
        for size in [READ_CHUNK + 1, 1 << 20, LARGE_MOST] {
            let mut buffer = read(&mut buffers, size);
            let (first, capacity) = (buffer.as_ptr(), buffer.capacity());
            let message = buffer.split().freeze();
            buffers.give_back(buffer, capacity);
            let mut other = read(&mut buffers, size);
            assert_ne!(other.as_ptr(), first, "somebody has it");
            let capacity = other.capacity();
            let first = other.as_ptr();
            drop((message, other.split()));
            buffers.give_back(other, capacity);
            assert_eq!(read(&mut buffers, size).as_ptr(), first);
        }
    }

    #[test]
    fn what_is_kept_has_a_bound_and_is_not_used_for_much_less() {
        let mut buffers = ReadBuffers::default();
        for (size, is_kept) in [(LARGE_MOST - 1, true), (LARGE_MOST, true), (LARGE_MOST + 1, false)]
        {
            buffers.large = BytesMut::new();
            let buffer = read(&mut buffers, size);
            buffers.give_back(buffer, size);
            assert_eq!(buffers.large.capacity() > 0, is_kept, "{size}");
        }
        let buffer = read(&mut buffers, LARGE_MOST);
        buffers.give_back(buffer, LARGE_MOST);
        let small = read(&mut buffers, 100_000);
        assert!(small.capacity() < 150_000, "{}", small.capacity());
    }
}
