//! Every limit of the crate in one place, each with its default and the reason for it.
#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use crate::clock;
use crate::exchange::{Config, Settings};
use std::time::{Duration, Instant};

/// The limits of a server or a client. Nothing in this crate grows past them.
///
/// One set serves both sides, so that a program that is both keeps its limits in one place. Each field says
/// what it bounds, what happens at the limit, its default with the reason, its unit and its side. A field has
/// no effect on the other side. A value outside the range of the wire or the system is clamped when a server
/// or a client is made.
///
/// ```
/// use msgpipe::Limits;
/// use std::time::Duration;
///
/// let limits = Limits::new()
///     .with_message(64 * 1024) // small messages only
///     .with_call(Duration::from_secs(5)); // short deadlines for calls
///
/// let mut same = Limits::default(); // the fields can be set too
/// same.message = 64 * 1024;
/// same.call = Duration::from_secs(5);
/// assert_eq!(limits, same);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The size of one message, as the application sees it. Headers and envelopes do not count.
    ///
    /// - At the limit: the sender refuses to send it. The receiver closes the connection with the goodbye
    ///   [`GoodbyeCode::TOO_LARGE`](crate::framing::GoodbyeCode::TOO_LARGE), before it stores anything.
    /// - Default: 16 MiB, above the largest documents that editors and services exchange, and harmless for
    ///   the machine when a few clients send it at once.
    /// - Unit: bytes, at most [`Limits::MESSAGE_MAX`]. Side: both.
    pub message: usize,
    /// The memory that a server holds for all its clients together: incomplete messages, requests in flight,
    /// and messages and replies that wait to be sent.
    ///
    /// It does not count what the application keeps: bodies of requests that it has answered, messages taken
    /// from a [`MessageServer`](crate::MessageServer), and the buffer that a reply of more than 64 KiB is a
    /// slice of.
    ///
    /// - At the limit: the server stops reading, large messages from three quarters on, then all. It resumes
    ///   in the order in which the connections began to wait. One message, and what a read has already
    ///   returned, may exceed the limit. While a connection waits, another one is closed if it holds more than
    ///   its even part and has made no progress for a second: 64 KiB, or the end of a message. The even part is half of the memory divided by
    ///   the number of connections; for a connection of another user also at most a quarter of
    ///   [`memory_per_user`](Limits::memory_per_user) divided by that user's connections. A connection within its
    ///   even part is never closed for this.
    /// - Default: 256 MiB, sixteen of the largest messages, and little beside the memory of a desktop machine.
    /// - Unit: bytes, at least four times [`message`](Limits::message). Side: servers.
    pub memory: usize,
    /// The part of [`memory`](Limits::memory) that the connections of one other user may hold together. All
    /// other users together have three quarters; the last quarter is reserved for the server's own user.
    ///
    /// - At the limit: as with `memory`, for the connections of that user.
    /// - Default: 64 MiB, four of the largest messages.
    /// - Unit: bytes, at least twice [`message`](Limits::message). Side: servers.
    pub memory_per_user: usize,
    /// The number of connections of a server.
    ///
    /// - At the limit: the server closes a further client with the goodbye
    ///   [`GoodbyeCode::BUSY`](crate::framing::GoodbyeCode::BUSY); its calls end with
    ///   [`Error::Busy`](crate::Error::Busy). With [`Instances::Fixed`](crate::Instances::Fixed) the client
    ///   waits instead: in the socket's backlog, or until a pipe instance is free.
    /// - Default: 16 384, above any desktop use; idle connections of some 1.4 KiB each then cost 23 MiB.
    /// - Unit: connections, at least 1. Side: servers.
    pub connections: usize,
    /// The number of connections of one other user, where others have [access](crate::Access).
    ///
    /// - At the limit: as with [`connections`](Limits::connections).
    /// - Default: 1024, many programs with many windows, and a sixteenth of all.
    /// - Unit: connections, at least 1. Side: servers.
    pub connections_per_user: usize,
    /// The number of connections reserved for the server's own user. All other users together have
    /// [`connections`](Limits::connections) less this number.
    ///
    /// - At the limit: a client of another user is closed as with `connections`.
    /// - Default: 256, for the owner's programs and for tools that repair something.
    /// - Unit: connections, at most half of `connections`. Side: servers.
    pub connections_reserved: usize,
    /// The send queue of one connection. For a [`MessageClient`](crate::MessageClient): the messages that
    /// have been read and not yet received by the application. For a [`Client`](crate::Client): the calls of the server
    /// that wait in [`Incoming`](crate::Incoming), with 64 bytes for each.
    ///
    /// - At the limit: from half of it on, no further message of that peer is read (backpressure). When it is
    ///   full, [`MessageServer::send`] returns the message in its error. One message may exceed the limit, so
    ///   that a value below [`message`](Limits::message) still lets every message through.
    /// - Default: 1 MiB, several times the buffer of a socket or a pipe, so that a peer that reads does not
    ///   fill it.
    /// - Unit: bytes, at least 1. Side: both.
    ///
    /// [`MessageServer::send`]: crate::MessageServer::send
    pub queued: usize,
    /// The number of requests in flight on one connection, in each direction.
    ///
    /// - At the limit: a server, or a client that a server calls, sends the error reply [`ErrorReply::TOO_MANY_REQUESTS`]; a client refuses the
    ///   request with [`Error::TooManyCalls`](crate::Error::TooManyCalls).
    /// - Default: 1024, eight times the deepest pipeline that still gains speed.
    /// - Unit: requests, at least 1. Side: both.
    ///
    /// [`ErrorReply::TOO_MANY_REQUESTS`]: crate::ErrorReply::TOO_MANY_REQUESTS
    pub in_flight: usize,
    /// The flow-control credit of one call, in each direction: the messages of a stream that have been sent and
    /// not been taken by the receiving application, with 64 bytes for each. Half of it is the largest message
    /// that is sent at once; a larger one is announced, and is sent when the receiver has memory for it.
    ///
    /// - At the limit: the sender waits for credit. A peer that sends more breaks the protocol and is closed.
    /// - Default: 2 MiB and a little, so that a body of 1 MiB needs no announcement.
    /// - Unit: bytes, at least 64 KiB. Side: both.
    pub call_window: usize,
    /// The credit of all calls of one connection together, for what is sent to the side that did not open the
    /// call, and for notifications.
    ///
    /// - At the limit: as with [`call_window`](Limits::call_window).
    /// - Default: 8 MiB, the windows of four calls: one that is not read does not stop the others.
    /// - Unit: bytes, at least 256 KiB and at least `call_window`. Side: both.
    pub connection_window: usize,
    /// The time in which a client reads nothing of its send queue. While nothing but parts of replies
    /// ([`PartSender`](crate::PartSender)) waits for it, it has any time.
    ///
    /// - At the limit: the server ends the connection with
    ///   [`CloseReason::Unread`](crate::CloseReason::Unread), without a goodbye.
    /// - Default: 30 s. A program stopped in a debugger or swapped out comes back; one that hangs does not
    ///   hold its memory for ever.
    /// - Unit: time. Side: servers.
    pub write_stall: Duration,
    /// The time from [`close`](crate::MessageServer::close) until the client has taken the send queue. A
    /// client that reads a little again and again keeps within [`write_stall`](Limits::write_stall), and
    /// would otherwise never be closed.
    ///
    /// - At the limit: the connection ends, and the rest of the queue is lost.
    /// - Default: 10 s, some hundred times what the largest message takes.
    /// - Unit: time. Side: servers.
    pub closing: Duration,
    /// The time from connecting until the client has sent what a stream of the framing begins with. The native
    /// framing begins with a preface of 16 bytes.
    ///
    /// - At the limit: the server closes the connection with the goodbye
    ///   [`GoodbyeCode::TOO_SLOW`](crate::framing::GoodbyeCode::TOO_SLOW).
    /// - Default: 10 s. Clients send the preface as they connect, so this allows for a machine that swaps.
    /// - Unit: time. Side: servers.
    pub preface: Duration,
    /// The time from the first byte of a message to its last. Time in which the server does not read from the
    /// client, because of [backpressure](Limits::queued), does not count.
    ///
    /// - At the limit: the server closes the connection as with [`preface`](Limits::preface).
    /// - Default: 30 s. A program stopped in a debugger comes back, and the largest message takes far less
    ///   than a second between two processes of one machine.
    /// - Unit: time. Side: servers.
    pub message_time: Duration,
    /// The time without a message in either direction. While a message is arriving,
    /// [`message_time`](Limits::message_time) applies instead. A request in flight does not count as a
    /// message: with calls, allow more than the slowest reply takes.
    ///
    /// - At the limit: the server closes the connection with the goodbye
    ///   [`GoodbyeCode::IDLE`](crate::framing::GoodbyeCode::IDLE).
    /// - Default: `None`, no limit. An idle connection costs some 1.4 KiB, and programs that use a service
    ///   now and then keep theirs.
    /// - Unit: time. Side: servers.
    pub idle: Option<Duration>,
    /// The time in which a client tries to connect to a busy server: a full backlog, or no free pipe instance.
    ///
    /// - At the limit: connecting fails with [`Error::Busy`](crate::Error::Busy). If no server runs,
    ///   connecting fails at once.
    /// - Default: 20 s, the time-out of the classic Win32 pipe client.
    /// - Unit: time. Side: clients.
    pub connect: Duration,
    /// The time in which a server that a client [starts](crate::Start) has to serve.
    ///
    /// - At the limit: the client ends the process that it has started, and connecting fails with
    ///   [`Error::NotStarted`](crate::Error::NotStarted). A client that waits for another one that starts the server
    ///   starts one itself after half of the time.
    /// - Default: 20 s, as for `connect`, and about what D-Bus gives a service (25 s): a server that has not bound its
    ///   name by then hangs, or has work that it can do after it has bound it.
    /// - Unit: time. Side: clients.
    pub start: Duration,
    /// The deadline of a call, counted from its start;
    /// [`Client::with_timeout`](crate::Client::with_timeout) sets another one. In a handler a call has at most what is
    /// left of the time of the request.
    ///
    /// - At the limit: the call ends with [`Error::Deadline`](crate::Error::Deadline). The connection goes on.
    /// - Default: 30 s, longer than a person would wait for a reply, so that it ends only lost calls.
    /// - Unit: time. Side: clients.
    pub call: Duration,
    /// The time from the end of its connection until a child process ends by itself: when the
    /// [`ChildProcess`](crate::ChildProcess) is dropped.
    ///
    /// - At the limit: the child is killed.
    /// - Default: 5 s, as for a server that drains.
    /// - Unit: time. Side: clients that start their server.
    pub child_end: Duration,
    /// The time in which a stopping server waits for outstanding replies and sends its queues.
    ///
    /// - At the limit: the server ends, and what is left is lost.
    /// - Default: 5 s, well below what service managers grant before they kill (systemd 90 s, Windows 20 s).
    /// - Unit: time. Side: servers.
    pub drain: Duration,
}

impl Limits {
    /// The defaults.
    pub fn new() -> Limits {
        Limits::default()
    }

    /// The largest value of [`Limits::message`]: 1 GiB. The wire could carry 4 GiB, but a message
    /// is one allocation, and 32-bit systems have no larger ones.
    pub const MESSAGE_MAX: usize = 1 << 30;

    /// The longest time, ten years: a longer one is shortened to it. Adding it to an `Instant` does not
    /// overflow on any system.
    const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

    /// The bytes of a connection's send queue above which a layer that schedules hands over nothing more. What
    /// is in the queue cannot be overtaken; less than the system's buffers hold would let them run empty.
    /// - A connection with large messages alone: 192 KiB, so that one system call takes several parts of 64 KiB.
    /// - With small messages beside large ones: 64 KiB, so that they do not wait long.
    ///
    /// In both cases not more than half of [`Limits::queued`].
    pub(crate) fn schedule_queue(&self, has_small: bool) -> usize {
        let most = if has_small { 64 * 1024 } else { 192 * 1024 };
        most.min(self.queued / 2)
    }

    /// The machine of calls with these limits.
    pub(crate) fn of_calls(&self) -> Config {
        let settings = Settings {
            body: self.message as u32,
            calls: self.in_flight as u32,
            call_window: self.call_window as u64,
            connection_window: self.connection_window as u64,
            ..Settings::default()
        };
        Config { settings, opens: self.in_flight, queue: self.queued, ..Config::default() }
    }

    /// A time, clamped to the range of every system.
    pub(crate) fn clamp(time: Duration) -> Duration {
        time.min(Limits::FOREVER)
    }

    /// The deadline that is `time` from now.
    pub(crate) fn until(time: Duration) -> Instant {
        clock::now() + Limits::clamp(time)
    }

    /// The limits as they are applied: each clamped to the range of the wire and the system.
    pub(crate) fn clamped(&self) -> Limits {
        let mut limits = self.clone();
        limits.message = limits.message.min(Limits::MESSAGE_MAX);
        limits.connections = limits.connections.max(1);
        limits.queued = limits.queued.max(1);
        limits.in_flight = limits.in_flight.clamp(1, u32::MAX as usize);
        let assumed = Settings::assumed();
        limits.call_window = limits.call_window.max(assumed.call_window as usize);
        limits.connection_window = limits.connection_window.max(assumed.connection_window as usize);
        limits.connection_window = limits.connection_window.max(limits.call_window);
        limits.connections_per_user = limits.connections_per_user.max(1);
        limits.connections_reserved = limits.connections_reserved.min(limits.connections / 2);
        limits.memory_per_user = limits.memory_per_user.max(limits.message.saturating_mul(2));
        limits.memory = limits.memory.max(limits.message.saturating_mul(4));
        let Limits {
            write_stall,
            closing,
            preface,
            message_time,
            connect,
            start,
            call,
            child_end,
            drain,
            ..
        } = &mut limits;
        for time in
            [write_stall, closing, preface, message_time, connect, start, call, child_end, drain]
        {
            *time = Limits::clamp(*time);
        }
        limits.idle = limits.idle.map(Limits::clamp);
        limits
    }
}

/// A setter for each field.
macro_rules! setters {
    ($($setter:ident, $field:ident: $kind:ty;)*) => {
        impl Limits {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](Limits::", stringify!($field), ").")]
                #[must_use]
                pub fn $setter(mut self, $field: $kind) -> Limits {
                    self.$field = $field;
                    self
                }
            )*
        }
    };
}

setters! {
    with_message, message: usize;
    with_memory, memory: usize;
    with_memory_each, memory_per_user: usize;
    with_connections, connections: usize;
    with_connections_each, connections_per_user: usize;
    with_connections_kept, connections_reserved: usize;
    with_queued, queued: usize;
    with_in_flight, in_flight: usize;
    with_call_window, call_window: usize;
    with_connection_window, connection_window: usize;
    with_write_stall, write_stall: Duration;
    with_closing, closing: Duration;
    with_preface, preface: Duration;
    with_message_time, message_time: Duration;
    with_idle, idle: Option<Duration>;
    with_connect, connect: Duration;
    with_start, start: Duration;
    with_call, call: Duration;
    with_child_end, child_end: Duration;
    with_drain, drain: Duration;
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message: 16 << 20,
            memory: 256 << 20,
            memory_per_user: 64 << 20,
            connections: 16_384,
            connections_per_user: 1024,
            connections_reserved: 256,
            queued: 1 << 20,
            in_flight: 1024,
            call_window: Settings::default().call_window as usize,
            connection_window: Settings::default().connection_window as usize,
            write_stall: Duration::from_secs(30),
            closing: Duration::from_secs(10),
            preface: Duration::from_secs(10),
            message_time: Duration::from_secs(30),
            idle: None,
            connect: Duration::from_secs(20),
            start: Duration::from_secs(20),
            call: Duration::from_secs(30),
            child_end: Duration::from_secs(5),
            drain: Duration::from_secs(5),
        }
    }
}
