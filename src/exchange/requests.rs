//! The server's side: the requests in flight of one connection.

use crate::ids::IdMap;
use std::collections::hash_map::Entry;

/// The number of ids in the smallest table.
const FEW: usize = 3;

/// The ids of one connection's requests in flight, each with the bytes that are held for it. When empty, it
/// keeps the smallest table at most.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    open: IdMap<u32, usize>,
}

/// Why a request is not begun.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// The peer broke the protocol.
    #[error("request {id} while another with that id is open")]
    Duplicate { id: u32 },
    /// The server sends an error reply.
    #[error("{limit} requests of this connection are in flight, the limit: wait for replies")]
    TooMany { limit: usize },
    /// The server sends an error reply.
    #[error("there is no memory for another request: wait for replies, and read them")]
    NoMemory,
}

impl Requests {
    /// A request has arrived.
    pub fn begin(&mut self, id: u32, limit: usize) -> Result<(), Refused> {
        let is_full = self.open.len() >= limit;
        match self.open.entry(id) {
            Entry::Occupied(_) => Err(Refused::Duplicate { id }),
            Entry::Vacant(_) if is_full => Err(Refused::TooMany { limit }),
            Entry::Vacant(place) => {
                place.insert(0);
                Ok(())
            }
        }
    }

    /// Records the bytes that are held for a request in flight.
    pub fn hold(&mut self, id: u32, bytes: usize) {
        if let Some(held) = self.open.get_mut(&id) {
            *held = bytes;
        }
    }

    /// A request has been answered. Returns the bytes that were held for it, or `None` if it was not open.
    pub fn finish(&mut self, id: u32) -> Option<usize> {
        let held = self.open.remove(&id);
        // With a handler that replies at once, one request is open at a time: keep its table.
        if self.open.is_empty() && self.open.capacity() > FEW {
            self.open = IdMap::default();
        }
        held
    }

    /// The number of requests in flight.
    pub fn len(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_exact() {
        let mut requests = Requests::default();
        for id in 0..3 {
            assert_eq!(requests.begin(id, 3), Ok(()));
        }
        assert_eq!(requests.begin(3, 3), Err(Refused::TooMany { limit: 3 }));
        requests.hold(1, 7);
        assert_eq!(requests.finish(1), Some(7));
        assert_eq!(requests.begin(3, 3), Ok(()));
        assert_eq!(requests.len(), 3);
    }

    #[test]
    fn an_id_is_open_once_and_free_afterwards() {
        let mut requests = Requests::default();
        assert_eq!(requests.begin(7, 8), Ok(()));
        assert_eq!(requests.begin(7, 8), Err(Refused::Duplicate { id: 7 }));
        assert_eq!(requests.finish(7), Some(0));
        requests.hold(7, 1);
        assert_eq!(requests.finish(7), None);
        assert_eq!(requests.begin(7, 8), Ok(()));
    }
}
