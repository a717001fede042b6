//! The account of one server: the memory held for its clients, and its connections, by user.
//!
//! Everything of a server that can grow is charged to one [`Account`]. Its limit, and the part of each
//! other user, are checked before something is read, not after: unread bytes wait in the system, at their
//! sender's cost (backpressure).
#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use crate::limits::Limits;
use crate::peer::Peer;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The account of a server: how many bytes are held for its clients, and how many clients there are.
/// Cheap to clone.
///
/// The servers of this crate have their own. A custom [`MessageServer`](crate::MessageServer) makes one from
/// its limits, and returns each connection's [`Share`].
///
/// ```
/// use msgpipe::{Account, Limits, Peer};
///
/// let account = Account::new(Limits::default());
/// let mut peer = Peer::default();
/// peer.same_user = true;
/// let share = account.share(&peer);
/// share.charge(1000);
/// assert_eq!((account.held(), share.room()), (1000, Limits::default().memory - 1000));
/// share.release(1000);
/// assert_eq!(account.held(), 0);
/// ```
#[derive(Clone)]
pub struct Account {
    inner: Arc<Inner>,
}

struct Inner {
    memory: usize,
    memory_per_user: usize,
    max_connections: usize,
    max_per_user: usize,
    /// Connections reserved for the server's own user.
    reserved: usize,
    all: Usage,
    /// The part of `all` that belongs to other users than the server's own.
    others: Usage,
    /// Counts up whenever memory becomes free.
    releases: AtomicU64,
    users: Mutex<HashMap<User, Weak<Group>>>,
    next_group: AtomicU64,
}

#[derive(Default)]
struct Usage {
    bytes: AtomicUsize,
    /// The part of `bytes` that is beginnings of large messages that wait for the memory of their rest.
    parked: AtomicUsize,
    connections: AtomicUsize,
}

/// The user whose connections have one share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum User {
    /// The effective user of the server.
    Own,
    Uid(u32),
    Sid(String),
    /// All users that the system does not identify.
    Unknown,
}

impl User {
    fn of(peer: &Peer) -> User {
        match peer {
            Peer { same_user: true, .. } => User::Own,
            Peer { uid: Some(uid), .. } => User::Uid(*uid),
            Peer { sid: Some(sid), .. } => User::Sid(sid.to_ascii_uppercase()),
            _ => User::Unknown,
        }
    }
}

/// The connections of one user.
struct Group {
    number: u64,
    is_own: bool,
    usage: Usage,
}

impl Account {
    /// An empty account with these limits.
    pub fn new(limits: Limits) -> Account {
        let limits = limits.clamped();
        let inner = Inner {
            memory: limits.memory,
            memory_per_user: limits.memory_per_user,
            max_connections: limits.connections,
            max_per_user: limits.connections_per_user,
            reserved: limits.connections_reserved,
            all: Usage::default(),
            others: Usage::default(),
            releases: AtomicU64::new(0),
            users: Mutex::default(),
            next_group: AtomicU64::new(0),
        };
        Account { inner: Arc::new(inner) }
    }

    /// The share that memory held for `peer` is charged to: one for all connections of its user.
    pub fn share(&self, peer: &Peer) -> Share {
        let user = User::of(peer);
        let mut users = self.inner.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = users.get(&user).and_then(Weak::upgrade) {
            return Share { account: self.clone(), group };
        }
        // Entries of users without connections are removed when a new user connects: so there is at most
        // one entry more than users with connections.
        users.retain(|_, group| group.strong_count() > 0);
        let number = self.inner.next_group.fetch_add(1, Relaxed);
        let is_own = user == User::Own;
        let group = Arc::new(Group { number, is_own, usage: Usage::default() });
        users.insert(user, Arc::downgrade(&group));
        Share { account: self.clone(), group }
    }

    /// The bytes that are held for all clients.
    pub fn held(&self) -> usize {
        self.inner.all.bytes.load(Relaxed)
    }

    /// A number that changes whenever memory becomes free.
    pub(crate) fn releases(&self) -> u64 {
        self.inner.releases.load(Relaxed)
    }

    /// The limit of memory in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.inner.memory
    }

    /// Takes a place for one more connection of `peer`. Dropping it releases it.
    pub(crate) fn place(&self, peer: &Peer) -> Result<Place, NoPlace> {
        let share = self.share(peer);
        let Inner { max_connections, max_per_user, reserved, all, others, .. } = &*self.inner;
        let count = |usage: &Usage| usage.connections.load(Relaxed);
        if count(all) >= *max_connections {
            return Err(NoPlace::Full { limit: *max_connections });
        }
        if !share.group.is_own {
            if count(&share.group.usage) >= *max_per_user {
                return Err(NoPlace::UserFull { limit: *max_per_user });
            }
            if count(others) >= max_connections - reserved {
                return Err(NoPlace::Full { limit: max_connections - reserved });
            }
        }
        share.each_usage(|usage| usage.connections.fetch_add(1, Relaxed));
        Ok(Place { share })
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("held", &self.held()).finish_non_exhaustive()
    }
}

/// Why there is no place for a client. The text is sent to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPlace {
    #[error("all {limit} connections are taken: close some, or try later")]
    Full { limit: usize },
    #[error("your user has {limit} connections, the limit: close some, or try later")]
    UserFull { limit: usize },
}

/// The part of an [`Account`] that the connections of one user share; [`Account::share`] returns it, and
/// [`Account`] has an example. Cheap to clone.
#[derive(Clone)]
pub struct Share {
    account: Account,
    group: Arc<Group>,
}

impl Share {
    /// Counts `bytes` as held, even without [`room`](Share::room): memory that is already used always
    /// counts.
    pub fn charge(&self, bytes: usize) {
        self.each_usage(|usage| usage.bytes.fetch_add(bytes, Relaxed));
    }

    /// Counts `bytes` that were charged before as free again.
    pub fn release(&self, bytes: usize) {
        self.each_usage(|usage| usage.bytes.fetch_sub(bytes, Relaxed));
        self.account.inner.releases.fetch_add(1, Relaxed);
    }

    /// How many more bytes may be held for this user.
    pub fn room(&self) -> usize {
        self.room_within(|limit| limit)
    }

    /// Whether half of the memory of the whole server is used.
    pub(crate) fn is_half_used(&self) -> bool {
        let Inner { memory, all, .. } = &*self.account.inner;
        all.bytes.load(Relaxed) >= memory / 2
    }

    /// Whether another message may be begun. It may not while parked beginnings of large messages take more
    /// than a quarter of the memory; for another user also not more than an eighth of it or of that user's
    /// part. They could otherwise fill the memory that they wait for, and none would be completed.
    pub(crate) fn may_begin(&self) -> bool {
        let Inner { memory, memory_per_user, all, others, .. } = &*self.account.inner;
        let below = |usage: &Usage, limit: usize| usage.parked.load(Relaxed) <= limit;
        let is_below = below(all, memory / 4);
        let others_are_below =
            || below(others, memory / 8) && below(&self.group.usage, memory_per_user / 8);
        is_below && (self.group.is_own || others_are_below())
    }

    /// Counts held bytes as the beginning of a waiting message, until the result is dropped.
    pub(crate) fn park(&self, bytes: usize) -> Parked {
        self.each_usage(|usage| usage.parked.fetch_add(bytes, Relaxed));
        Parked { share: self.clone(), bytes }
    }

    /// How many more bytes large messages may take. A quarter of each limit is reserved for small ones, so
    /// that they never wait for large ones to arrive.
    pub(crate) fn room_for_large(&self) -> usize {
        self.room_within(|limit| limit - limit / 4)
    }

    fn room_within(&self, part: impl Fn(usize) -> usize) -> usize {
        let inner = &self.account.inner;
        let left =
            |limit: usize, usage: &Usage| part(limit).saturating_sub(usage.bytes.load(Relaxed));
        let room = left(inner.memory, &inner.all);
        match self.group.is_own {
            true => room,
            false => room
                .min(left(inner.memory - inner.memory / 4, &inner.others))
                .min(left(inner.memory_per_user, &self.group.usage)),
        }
    }

    /// The even part of a connection within its user's limit: a quarter of that limit divided by the user's
    /// connections. A large message waits only while more than that quarter is in use, so some connection
    /// then holds more than its even part.
    pub(crate) fn even_part(&self) -> usize {
        match self.group.is_own {
            true => usize::MAX,
            false => {
                let connections = self.group.usage.connections.load(Relaxed);
                self.account.inner.memory_per_user / 4 / connections.max(1)
            }
        }
    }

    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// The number of the user's group: the same for all connections of one user.
    pub(crate) fn group(&self) -> u64 {
        self.group.number
    }

    fn each_usage<T>(&self, change: impl Fn(&Usage) -> T) {
        change(&self.account.inner.all);
        change(&self.group.usage);
        if !self.group.is_own {
            change(&self.account.inner.others);
        }
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.group.usage.bytes.load(Relaxed);
        f.debug_struct("Share").field("held", &held).finish_non_exhaustive()
    }
}

/// The place of one connection in the account. Dropping it releases the place.
pub(crate) struct Place {
    share: Share,
}

impl Place {
    pub fn share(&self) -> &Share {
        &self.share
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.share.each_usage(|usage| usage.connections.fetch_sub(1, Relaxed));
    }
}

/// See [`Share::park`].
pub(crate) struct Parked {
    share: Share,
    bytes: usize,
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.share.each_usage(|usage| usage.parked.fetch_sub(self.bytes, Relaxed));
        self.share.account.inner.releases.fetch_add(1, Relaxed);
    }
}

/// The bytes that are charged to a share for one connection. Dropping it releases them.
#[derive(Debug)]
pub(crate) struct Charge {
    share: Share,
    bytes: usize,
}

impl Charge {
    pub fn new(share: Share) -> Charge {
        Charge { share, bytes: 0 }
    }

    pub fn share(&self) -> &Share {
        &self.share
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sets the charge to `bytes`.
    pub fn set(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.share.charge(bytes - self.bytes);
        } else if bytes < self.bytes {
            self.share.release(self.bytes - bytes);
        }
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}
