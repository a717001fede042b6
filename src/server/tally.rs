//! The counters of a running server.

use super::connection::Connection;
use crate::account::{Account, Share};
use crate::clock;
use crate::counts::{CallCounts, CallEnd, Traffic};
use crate::guard::guarded;
use crate::sync::Mutex;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A counter that only the server's loop changes, for any thread to read: so it takes no locked instruction. Who reads one
/// sees all that was counted before it.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Release);
    }

    fn get(&self) -> u64 {
        self.0.load(Acquire)
    }
}

#[derive(Debug, Default)]
pub(super) struct CallTally {
    begun: Count,
    replied: Count,
    failed: Count,
    cancelled: Count,
    late: Count,
    closed: Count,
}

impl CallTally {
    pub fn begins(&self) {
        self.begun.add(1);
    }

    pub fn ends(&self, how: CallEnd) {
        let ended = match how {
            CallEnd::Replied => &self.replied,
            CallEnd::Failed => &self.failed,
            CallEnd::Cancelled => &self.cancelled,
            CallEnd::Late => &self.late,
            CallEnd::Closed => &self.closed,
        };
        ended.add(1);
    }

    fn read(&self) -> CallCounts {
        CallCounts {
            replied: self.replied.get(),
            failed: self.failed.get(),
            cancelled: self.cancelled.get(),
            late: self.late.get(),
            closed: self.closed.get(),
            // Last: no call has ended that was not begun.
            begun: self.begun.get(),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct TrafficTally {
    messages: Count,
    bytes: Count,
}

impl TrafficTally {
    pub fn add(&self, bytes: usize) {
        self.messages.add(1);
        self.bytes.add(bytes as u64);
    }

    fn read(&self) -> Traffic {
        Traffic { messages: self.messages.get(), bytes: self.bytes.get() }
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub connected: Count,
    pub disconnected: Count,
    pub requests: CallTally,
    pub refused: Count,
    pub calls: CallTally,
    pub notifications_received: Count,
    pub notifications_sent: Count,
    pub received: TrafficTally,
    pub sent: TrafficTally,
    /// Messages that topics have dropped. Publishers on any thread change it.
    pub dropped: AtomicU64,
    waiting: OnceLock<Waiting>,
    account: OnceLock<Account>,
    slow: OnceLock<Slow>,
}

/// How many requests wait for workers.
struct Waiting(Box<dyn Fn() -> usize + Send + Sync>);

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Waiting").field(&(self.0)()).finish()
    }
}

type OnSlow = dyn FnMut(&SlowCall) + Send;

struct Slow {
    limit: Duration,
    tell: Mutex<Box<OnSlow>>,
}

impl fmt::Debug for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slow").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Tally {
    /// The server's account is known with its first connection.
    pub fn set_share(&self, share: &Share) {
        self.account.get_or_init(|| share.account().clone());
    }

    /// There are workers.
    pub fn set_waiting(&self, waiting: impl Fn() -> usize + Send + Sync + 'static) {
        self.waiting.get_or_init(|| Waiting(Box::new(waiting)));
    }

    /// The first hook counts.
    pub fn set_slow(&self, limit: Duration, tell: Box<OnSlow>) {
        self.slow.get_or_init(|| Slow { limit, tell: Mutex::new(tell) });
    }

    /// The time, if somebody wants to know how long calls take.
    pub fn begins(&self) -> Option<Instant> {
        self.requests.begins();
        self.slow.get().map(|_| clock::now())
    }

    /// A request has ended. `began`: as [`begins`](Tally::begins) said.
    pub fn ends(
        &self,
        end: CallEnd,
        began: Option<Instant>,
        whose: impl FnOnce() -> (Connection, u32),
    ) {
        self.requests.ends(end);
        let (Some(slow), Some(began)) = (self.slow.get(), began) else {
            return;
        };
        let took = clock::since(began);
        if took >= slow.limit {
            let (connection, method) = whose();
            let call = SlowCall { connection, method, took, end };
            let mut tell = slow.tell.lock().unwrap_or_else(PoisonError::into_inner);
            guarded(|| tell(&call));
        }
    }

    pub fn read(&self) -> ServerCounts {
        let account = self.account.get();
        // First: none has ended that had not connected.
        let closed = self.disconnected.get();
        ServerCounts {
            closed,
            connected: self.connected.get(),
            requests: self.requests.read(),
            refused: self.refused.get(),
            calls: self.calls.read(),
            notifications_received: self.notifications_received.get(),
            notifications_sent: self.notifications_sent.get(),
            dropped: self.dropped.load(Relaxed),
            received: self.received.read(),
            sent: self.sent.read(),
            waiting: self.waiting.get().map_or(0, |waiting| (waiting.0)()),
            memory: account.map_or(0, Account::held),
        }
    }
}

/// What a server has counted since it was made; [`Counters::read`](super::Counters::read) returns it.
///
/// The fields are read one after another while the server goes on: they may differ by what happens meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerCounts {
    /// All clients that have connected.
    pub connected: u64,
    /// Those of them whose connections have ended.
    pub closed: u64,
    /// The requests of clients that were given to the handler, or to workers, and those that the server has answered itself
    /// ([`monitor`](crate::monitor)).
    pub requests: CallCounts,
    /// Requests that were not begun: too many of a client were open, there was no memory, or the server was stopping.
    /// What workers refuse counts as begun and failed.
    pub refused: u64,
    /// The server's own calls to clients.
    pub calls: CallCounts,
    /// Notifications of clients.
    pub notifications_received: u64,
    /// Notifications to clients that were on their way.
    pub notifications_sent: u64,
    /// Messages for subscribers that a [`Topic`](super::Topic) has dropped.
    pub dropped: u64,
    /// What has arrived.
    pub received: Traffic,
    /// What was given to the transport.
    pub sent: Traffic,
    /// The requests that wait for workers now.
    pub waiting: usize,
    /// The bytes that are held for clients now; see [`Limits::memory`](crate::Limits::memory).
    pub memory: usize,
}

impl ServerCounts {
    /// The clients that are connected.
    ///
    /// ```
    /// let (hub, limits) = (msgpipe::memory::Hub::new(), msgpipe::Limits::default());
    /// let server = msgpipe::Server::over(hub.listen_for_calls("empty", limits.clone())?, limits);
    /// assert_eq!(server.counters().read().clients(), 0);
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn clients(&self) -> u64 {
        self.connected.saturating_sub(self.closed)
    }
}

/// A call that took longer than the limit of [`Server::on_slow_call`](super::Server::on_slow_call).
#[derive(Debug)]
#[non_exhaustive]
pub struct SlowCall {
    /// Its client.
    pub connection: Connection,
    /// Its method.
    pub method: u32,
    /// From the arrival of the request to the end of the call: with the time that it waited for a worker, and for its
    /// client to take parts of the reply.
    pub took: Duration,
    /// How it has ended.
    pub end: CallEnd,
}
