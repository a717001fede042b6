//! What reads and writes of all streams have in common in a runtime of tokio.

use std::io::{self, ErrorKind, IoSlice};
use std::task::{Poll, ready};

/// The bytes of one write of gathered slices.
pub(super) const WRITE_MAX: usize = 64 * 1024;

/// Does what is to be done once the stream is ready for it: again and again, as long as it is not, for all that was said.
pub(super) fn when_ready<T>(
    mut is_ready: impl FnMut() -> Poll<io::Result<()>>,
    mut do_it: impl FnMut() -> io::Result<T>,
) -> Poll<io::Result<T>> {
    loop {
        ready!(is_ready())?;
        match do_it() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}

/// The slices in one piece, as far as one write takes them: for streams that take one piece at a time, where each costs
/// something. One slice alone is not copied.
pub(super) fn gathered<'a>(slices: &'a [IoSlice<'_>], memory: &'a mut Vec<u8>) -> &'a [u8] {
    if let [slice] = slices {
        return &slice[..slice.len().min(WRITE_MAX)];
    }
    memory.clear();
    for slice in slices {
        let room = WRITE_MAX - memory.len();
        memory.extend_from_slice(&slice[..slice.len().min(room)]);
    }
    memory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_gathered_up_to_the_limit_and_not_over_it() {
        for len in [WRITE_MAX - 1, WRITE_MAX, WRITE_MAX + 1] {
            let bytes = vec![7; len];
            let (head, rest) = bytes.split_at(8);
            let mut memory = Vec::new();
            let one = gathered(&[IoSlice::new(&bytes)], &mut memory).len();
            let slices = [IoSlice::new(head), IoSlice::new(rest), IoSlice::new(&[])];
            assert_eq!(gathered(&slices, &mut memory).len(), len.min(WRITE_MAX));
            assert_eq!(one, len.min(WRITE_MAX));
        }
        let mut memory = vec![1; 100];
        let slices = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"c")];
        assert_eq!(gathered(&slices, &mut memory), b"abc");
        assert_eq!(gathered(&[], &mut memory), b"");
    }

    #[test]
    fn what_would_block_is_done_again_when_it_is_ready_again() {
        let (mut asked, mut tried) = (0, 0);
        let mut is_ready = || {
            asked += 1;
            if asked > 3 { Poll::Pending } else { Poll::Ready(Ok(())) }
        };
        let would_block = || {
            tried += 1;
            Err::<(), _>(ErrorKind::WouldBlock.into())
        };
        assert!(when_ready(&mut is_ready, would_block).is_pending());
        assert_eq!((asked, tried), (4, 3));
    }
}
