//! What is to be sent before the driver takes it, and the write of a call that is alone.

use crate::async_io::WriteNow;
use crate::client::channel::SLICES;
use crate::client::given::Given;
use crate::framing::{Framing, Outbound, SendQueue};
use bytes::BytesMut;
use std::io::IoSlice;

/// What is to be sent, in order.
pub(super) struct Stage {
    pub outbound: Outbound,
    pub queue: SendQueue<'static>,
    /// The position in the stream at which `queue` begins.
    pub from: u64,
    /// The buffer of an emptied queue.
    memory: BytesMut,
    /// The driver has bytes that it has taken, and that are before those of `queue`.
    is_taken: bool,
    /// `None` for streams that only their driver writes to, and when the connection has ended.
    pub writer: Option<Box<dyn WriteNow>>,
}

impl Stage {
    pub fn new(framing: &dyn Framing, writer: Option<Box<dyn WriteNow>>) -> Stage {
        let mut outbound = Outbound::new(framing);
        let queue = std::mem::take(&mut outbound.queue);
        Stage { outbound, queue, from: 0, memory: BytesMut::new(), is_taken: false, writer }
    }

    /// Takes what is to be sent next; `emptied` is what was taken before.
    pub fn take(&mut self, emptied: &mut SendQueue<'static>) -> Taken {
        emptied.take_back(&mut self.memory);
        let from = self.from;
        self.from += self.queue.len() as u64;
        self.is_taken = !self.queue.is_empty();
        Taken { from, queue: self.emptied() }
    }

    /// The queue, and an empty one instead of it.
    fn emptied(&mut self) -> SendQueue<'static> {
        let mut next = SendQueue::default();
        next.lend(&mut self.memory);
        std::mem::replace(&mut self.queue, next)
    }

    /// Writes the queue, if the driver has nothing that comes before. Does not wait. Returns whether nothing is left for
    /// the driver, which writes a rest, and meets an error again.
    pub fn write_now(&mut self, given: &Given) -> bool {
        let Some(writer) = self.writer.as_ref().filter(|_| !self.is_taken) else {
            return false;
        };
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled = self.queue.slices(&mut slices);
        let len: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
        if !given.offer(self.from + len as u64) {
            // Somebody has been told that this is not sent.
            return false;
        }
        let taken = writer.write_now(&slices[..filled]).unwrap_or(0);
        self.from += taken as u64;
        given.taken(self.from);
        self.queue.advance(taken);
        let is_empty = self.queue.is_empty();
        if is_empty {
            self.emptied().take_back(&mut self.memory);
        }
        is_empty
    }
}

/// What the driver has taken.
pub(super) struct Taken {
    pub queue: SendQueue<'static>,
    /// The position in the stream at which it begins.
    pub from: u64,
}
