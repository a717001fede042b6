//! The id of a connection.
#![forbid(unsafe_code)]

use std::fmt;

/// The id of a connection of a [`MessageServer`](crate::MessageServer). A server never uses an id twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// An id with this number; for implementations of [`MessageServer`](crate::MessageServer).
    ///
    /// ```
    /// let id = msgpipe::ConnectionId::from_number(7);
    /// assert_eq!((id.number(), id.to_string().as_str()), (7, "connection 7"));
    /// ```
    pub const fn from_number(number: u64) -> ConnectionId {
        ConnectionId(number)
    }

    /// The id's number.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}", self.0)
    }
}
