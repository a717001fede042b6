//! Parts of replies that go on although the requests that they belong to hold the memory.

use super::{Account, Share};
use std::sync::atomic::Ordering::Relaxed;

/// The right of one part of a reply to go over the limits.
pub(crate) struct Over {
    account: Account,
}

impl Drop for Over {
    fn drop(&mut self) {
        self.account.inner.has_one_over.store(false, Relaxed);
    }
}

impl Share {
    /// How many more bytes the only parts of replies that wait for their clients may take: half of what is reserved for
    /// small messages. Requests whose replies are in parts hold memory until their ends, and must not keep each other
    /// from them.
    pub(crate) fn room_for_alone(&self) -> usize {
        self.room_within(|limit| limit - limit / 8)
    }

    /// Lets one part of a reply go over all limits, while the result lives. `None`: another one does.
    pub(crate) fn go_over(&self) -> Option<Over> {
        let had_one = self.account.inner.has_one_over.swap(true, Relaxed);
        (!had_one).then(|| Over { account: self.account.clone() })
    }
}
