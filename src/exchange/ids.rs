//! The ids of calls: which side opened one, and which of two is the later.

/// A side of a connection. Both sides run the same machine; only the ids that they give differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The side that connected.
    Client,
    /// The side that accepted the connection.
    Server,
}

/// The ids below this are not calls: the two of them are the lanes of notifications, one for each sender.
const FIRST_CALL: u32 = 2;

impl Side {
    /// The side that opened the call, or sends on the lane, with this id. Bit 0: 0 client, 1 server.
    pub(crate) fn of(id: u32) -> Side {
        match id & 1 {
            0 => Side::Client,
            _ => Side::Server,
        }
    }

    pub(crate) fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }

    /// The id of the lane on which this side sends its notifications.
    pub const fn lane(self) -> u32 {
        match self {
            Side::Client => 0,
            Side::Server => 1,
        }
    }
}

/// Whether the id is a lane of notifications.
pub(crate) fn is_lane(id: u32) -> bool {
    id < FIRST_CALL
}

/// Counts the ids of one side. They only go up, and begin again from the front after the last (serial number
/// arithmetic, RFC 1982), so an id of the past differs from one that was never used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ids {
    /// The latest id.
    last: u32,
    /// Ids have begun again from the front: one of the past may still be in use.
    wrapped: bool,
}

impl Ids {
    /// No call has been opened: the lane counts as the id before the first.
    pub fn new(side: Side) -> Ids {
        Ids { last: side.lane(), wrapped: false }
    }

    /// The id after the latest.
    pub fn next(&self) -> u32 {
        match self.last.wrapping_add(2) {
            id if is_lane(id) => id + FIRST_CALL,
            id => id,
        }
    }

    /// The id after `id`.
    pub fn after(id: u32) -> u32 {
        Ids { last: id, wrapped: true }.next()
    }

    /// Whether `id` may be opened: it is later than every one before.
    pub fn is_new(&self, id: u32) -> bool {
        !is_lane(id) && (id.wrapping_sub(self.last) as i32) > 0
    }

    /// Whether an id that is opened next may be that of an old call.
    pub fn may_be_used(&self, id: u32) -> bool {
        self.wrapped || id < self.last
    }

    pub fn opened(&mut self, id: u32) {
        self.wrapped |= id < self.last;
        self.last = id;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_up_and_begin_again_after_the_last() {
        for (side, ids) in [(Side::Client, [2, 4, 6]), (Side::Server, [3, 5, 7])] {
            let mut given = Ids::new(side);
            for id in ids {
                assert_eq!(given.next(), id);
                assert_eq!((Side::of(id), given.is_new(id)), (side, true));
                given.opened(id);
                assert!(!given.is_new(id) && !given.is_new(id - 2));
            }
        }
        for (last, first) in [(u32::MAX - 1, 2), (u32::MAX, 3)] {
            let given = Ids { last, wrapped: false };
            assert_eq!(given.next(), first, "the lanes are passed over");
            assert!(given.is_new(first) && !given.is_new(last) && !given.is_new(last - 2));
            assert!(!given.is_new(first - FIRST_CALL));
        }
    }

    #[test]
    fn half_of_all_ids_are_later() {
        let given = Ids { last: 10, wrapped: false };
        for (id, later) in [(12, true), (10 + (1 << 31) - 2, true), (10 + (1 << 31), false)] {
            assert_eq!(given.is_new(id), later, "{id}");
        }
    }
}
