//! What waits for a worker: users are served in turn, and of each user the connections.

use crate::ids::IdMap;
use crate::message_server::ConnectionId;
use std::collections::{BTreeMap, VecDeque};

/// A connection, with the number of its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub user: u64,
    pub connection: ConnectionId,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// Those for whom something waits.
    users: BTreeMap<u64, Connections<T>>,
    turn: VecDeque<u64>,
    len: usize,
}

/// The connections of one user for which something waits.
#[derive(Debug)]
struct Connections<T> {
    lines: IdMap<ConnectionId, VecDeque<T>>,
    turn: VecDeque<ConnectionId>,
    len: usize,
}

impl<T> Queue<T> {
    pub fn new() -> Queue<T> {
        Queue { users: BTreeMap::new(), turn: VecDeque::new(), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    fn len_of_user(&self, user: u64) -> usize {
        self.users.get(&user).map_or(0, |user| user.len)
    }

    /// How many wait for a connection.
    pub fn len_of(&self, owner: Owner) -> usize {
        let user = self.users.get(&owner.user);
        user.and_then(|user| user.lines.get(&owner.connection)).map_or(0, VecDeque::len)
    }

    pub fn push(&mut self, owner: Owner, item: T) {
        let user = self.users.entry(owner.user).or_insert_with(|| {
            self.turn.push_back(owner.user);
            Connections { lines: IdMap::default(), turn: VecDeque::new(), len: 0 }
        });
        let line = user.lines.entry(owner.connection).or_default();
        if line.is_empty() {
            user.turn.push_back(owner.connection);
        }
        line.push_back(item);
        user.len += 1;
        self.len += 1;
    }

    /// The next one: the oldest of the connection whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        let number = self.turn.pop_front()?;
        let user = self.users.get_mut(&number)?;
        let connection = user.turn.pop_front()?;
        let line = user.lines.get_mut(&connection)?;
        let item = line.pop_front()?;
        match line.is_empty() {
            true => drop(user.lines.remove(&connection)),
            false => user.turn.push_back(connection),
        }
        user.len -= 1;
        self.len -= 1;
        match user.len {
            0 => drop(self.users.remove(&number)),
            _ => self.turn.push_back(number),
        }
        Some(item)
    }

    /// Makes room for one of `owner` in a full queue, if somebody else has more than it: the user for whom most
    /// wait, or else another connection of its own user. Returns the newest of those.
    pub fn displace(&mut self, owner: Owner) -> Option<T> {
        let (own, of_user) = (self.len_of(owner), self.len_of_user(owner.user));
        let (&most, others) = self.users.iter().max_by_key(|(_, user)| user.len)?;
        let is_of_others = others.len > of_user + 1;
        let from = if is_of_others { most } else { owner.user };
        let victim = self.users.get_mut(&from)?;
        let (&connection, longest) = victim.lines.iter_mut().max_by_key(|(_, line)| line.len())?;
        if !is_of_others && longest.len() <= own + 1 {
            return None;
        }
        let item = longest.pop_back()?;
        victim.len -= 1;
        self.len -= 1;
        if longest.is_empty() {
            // Its user has others: it had more than one.
            victim.lines.remove(&connection);
            victim.turn.retain(|it| *it != connection);
        }
        Some(item)
    }

    /// Takes out all of a connection.
    pub fn remove(&mut self, connection: ConnectionId) -> Vec<T> {
        let lines = self.users.values_mut().filter_map(|user| user.lines.remove(&connection));
        let removed: Vec<T> = lines.flatten().collect();
        if !removed.is_empty() {
            self.count_again();
        }
        removed
    }

    /// Takes out those for which `is_meant` holds.
    pub fn extract(&mut self, is_meant: impl Fn(&T) -> bool) -> Vec<T> {
        let mut extracted = Vec::new();
        for line in self.users.values_mut().flat_map(|user| user.lines.values_mut()) {
            if line.iter().any(&is_meant) {
                let (meant, left) = std::mem::take(line).into_iter().partition(&is_meant);
                *line = left;
                let meant: VecDeque<T> = meant;
                extracted.extend(meant);
            }
        }
        if !extracted.is_empty() {
            self.count_again();
        }
        extracted
    }

    /// Some were taken out of the middle: removes what is empty.
    fn count_again(&mut self) {
        for user in self.users.values_mut() {
            user.lines.retain(|_, line| !line.is_empty());
            user.turn.retain(|connection| user.lines.contains_key(connection));
            user.len = user.lines.values().map(VecDeque::len).sum();
        }
        self.users.retain(|_, user| user.len > 0);
        self.turn.retain(|user| self.users.contains_key(user));
        self.len = self.users.values().map(|user| user.len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(user: u64, connection: u64) -> Owner {
        Owner { user, connection: ConnectionId::from_number(connection) }
    }

    /// A queue with so many of each of these connections of these users, which are named by their connection.
    fn queue(waiting: &[(u64, u64, usize)]) -> Queue<u64> {
        let mut queue = Queue::new();
        for &(user, connection, count) in waiting {
            (0..count).for_each(|_| queue.push(owner(user, connection), connection));
        }
        queue
    }

    fn all(mut queue: Queue<u64>) -> Vec<u64> {
        let all: Vec<u64> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!((queue.len(), queue.users.len(), queue.turn.len()), (0, 0, 0));
        all
    }

    #[test]
    fn connections_are_served_in_turn_and_so_are_users() {
        assert_eq!(all(queue(&[(0, 1, 5), (0, 2, 1), (0, 3, 2)])), [1, 2, 3, 1, 3, 1, 1, 1]);
        // The many connections of the one user are one turn.
        let many = queue(&[(0, 1, 2), (0, 2, 2), (0, 3, 2), (7, 9, 3)]);
        assert_eq!(all(many), [1, 9, 2, 9, 3, 9, 1, 2, 3]);
    }

    #[test]
    fn who_comes_again_and_again_keeps_its_turn() {
        let mut queue = queue(&[(0, 1, 3), (0, 2, 3)]);
        for expected in [1, 2, 1, 2] {
            assert_eq!(queue.pop(), Some(expected));
            queue.push(owner(0, 1), 1);
        }
    }

    #[test]
    fn the_newest_of_those_with_most_makes_room() {
        for (waiting, newcomer, displaced) in [
            (&[(0, 1, 4)][..], owner(0, 2), Some(1)),
            (&[(0, 1, 2)], owner(0, 2), Some(1)),
            // Then the other one would have fewer than it.
            (&[(0, 1, 1)], owner(0, 2), None),
            (&[(0, 1, 3), (0, 2, 1)], owner(0, 2), Some(1)),
            (&[(0, 1, 3), (0, 2, 2)], owner(0, 2), None),
            (&[(0, 1, 3)], owner(0, 1), None),
            // Of another user with many connections.
            (&[(0, 1, 1), (0, 2, 1), (0, 3, 1)], owner(7, 9), Some(3)),
            (&[(0, 1, 1)], owner(7, 9), None),
            // Each has as much as the other: only its own user's connections are left.
            (&[(0, 1, 3), (7, 9, 3)], owner(7, 8), Some(9)),
            (&[(0, 1, 3), (7, 9, 1)], owner(7, 9), Some(1)),
        ] {
            let mut queue = queue(waiting);
            let before = queue.len();
            let made = queue.displace(newcomer);
            assert_eq!(made.is_some(), displaced.is_some(), "{waiting:?} {newcomer:?}");
            assert_eq!(queue.len(), before - usize::from(made.is_some()));
            // Of connections with as many it is any.
            let many = waiting.iter().map(|(.., count)| count).max();
            if many > Some(&1) {
                assert_eq!(made, displaced, "{waiting:?} {newcomer:?}");
            }
            all(queue);
        }
        let mut order = Queue::new();
        (1..=3).for_each(|number| order.push(owner(0, 1), number));
        assert_eq!(order.displace(owner(0, 2)), Some(3));
    }

    #[test]
    fn what_is_taken_out_of_the_middle_is_not_served() {
        let mut queue = queue(&[(0, 1, 2), (0, 2, 3), (7, 9, 1)]);
        assert_eq!(queue.remove(ConnectionId::from_number(2)), [2, 2, 2]);
        assert_eq!(queue.remove(ConnectionId::from_number(2)), [0; 0]);
        assert_eq!((queue.len(), queue.len_of(owner(0, 1)), queue.len_of(owner(0, 2))), (3, 2, 0));
        assert_eq!(queue.extract(|it| *it == 9), [9]);
        queue.push(owner(0, 2), 2);
        assert_eq!(all(queue), [1, 2, 1]);
    }
}
