//! Every bound of the crate in one place, each with its default and the reason for it.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

/// The bounds of a server or a client. Nothing in this crate grows past them.
///
/// One set serves both sides, so that a program that is both has its bounds in one place: each says whom it
/// concerns, and does nothing on the other side. A value that no system can hold is brought inside when a
/// server or a client is made of it.
///
/// ```
/// use msgpipe::Limits;
/// use std::time::Duration;
///
/// let limits = Limits::new()
///     .with_message(64 * 1024) // small messages only
///     .with_call(Duration::from_secs(5)); // and impatient callers
///
/// let mut same = Limits::default(); // the fields can be set too
/// same.message = 64 * 1024;
/// same.call = Duration::from_secs(5);
/// assert_eq!(limits, same);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// **Both sides.** The largest message in bytes, as the application sees it: headers and envelopes of this
    /// crate do not count. Checked before anything is stored, on both sides.
    ///
    /// Default 16 MiB: above the largest documents that editors and services exchange, far below
    /// what would hurt a machine when a few clients send it at once. At most [`Limits::MESSAGE_MAX`].
    pub message: usize,
    /// **Servers.** How many bytes a server holds for all its clients together: messages that have not arrived
    /// whole, requests that have no answer yet, and messages and replies that wait to be sent. At the
    /// bound the server stops reading, first large messages (from three quarters on), then all; it
    /// reads on, in the order in which they began to wait, as memory becomes free. A single message, and
    /// what a read has brought already, may pass the line.
    /// While somebody waits, a connection that holds more than its even part and has taken or sent
    /// nothing for a second is closed; a connection inside its part never is. The even part is half of
    /// the memory divided by the number of connections; for one of another user also not more than a
    /// quarter of [`memory_each`](Limits::memory_each) divided by the number of that user's.
    ///
    /// What the application keeps for itself does not count: bodies of requests that it has answered,
    /// messages that it has taken from a [`MessageServer`](crate::MessageServer), and what a reply of more
    /// than 64 KiB is a part of.
    ///
    /// Default 256 MiB: sixteen of the largest messages at once, and little beside what a desktop
    /// machine has. At least four times [`message`](Limits::message), so that one message leaves room
    /// for others.
    pub memory: usize,
    /// **Servers.** How much of [`memory`](Limits::memory) the connections of one other user may hold together.
    /// That user's connections wait at this line as all do at the other. All other users together
    /// have three quarters of the memory: the last quarter is for the server's own user.
    ///
    /// Default 64 MiB: four of the largest messages. At least twice [`message`](Limits::message).
    pub memory_each: usize,
    /// **Servers.** How many clients a server serves at once. A further one is told so with the goodbye
    /// [`GoodbyeCode::BUSY`](crate::framing::GoodbyeCode::BUSY) and closed, and its calls end in
    /// [`Error::Busy`](crate::Error::Busy). With [`Instances::Fixed`](crate::Instances::Fixed) it waits
    /// instead: in the backlog of the socket, or on a busy pipe.
    ///
    /// Default 16 384: above any desktop use; at about one KiB each an idle crowd of that size
    /// costs 16 MiB.
    pub connections: usize,
    /// **Servers.** How many of these connections one other user may have, where others have
    /// [access](crate::Access). A further one is told so as above.
    ///
    /// Default 1024: many programs of many windows, and a sixteenth of all.
    pub connections_each: usize,
    /// **Servers.** How many of these connections are kept for the server's own user: the others together have so
    /// many less than [`connections`](Limits::connections). At most half of them.
    ///
    /// Default 256: the owner's own programs, and whatever is needed to set things right.
    pub connections_kept: usize,
    /// **Both sides.** How many bytes may wait to be sent on one connection; of a client, how many may
    /// have arrived that were not yet received. While more than half of it waits, no
    /// further message of that peer is read; when it is full, [`MessageServer::send`] hands the
    /// message back. A single message may pass the line, so that a limit below
    /// [`message`](Limits::message) still lets every message through.
    ///
    /// Default 1 MiB: several times what a socket or a pipe holds itself, so that a peer that
    /// reads at all never finds it full.
    ///
    /// [`MessageServer::send`]: crate::MessageServer::send
    pub queued: usize,
    /// **Both sides.** How many requests of one connection may be unanswered. A server answers the next one with
    /// the error [`ErrorReply::TOO_MANY_REQUESTS`]; a client refuses to start it.
    ///
    /// Default 1024: eight times the deepest pipeline that still gains speed.
    ///
    /// [`ErrorReply::TOO_MANY_REQUESTS`]: crate::ErrorReply::TOO_MANY_REQUESTS
    pub in_flight: usize,
    /// **Servers.** How long a peer may leave bytes unread that wait to be sent before its connection is closed.
    ///
    /// Default 30 s: a program stopped in a debugger or swapped out comes back; one that is gone
    /// does not hold its memory for ever.
    pub write_stall: Duration,
    /// **Servers.** How long the end of a connection may take in all, from
    /// [`close`](crate::MessageServer::close) until everything that was queued before has been taken:
    /// a client that reads a little again and again keeps to
    /// [`write_stall`](Limits::write_stall) and would otherwise never be gone. What is left then is
    /// thrown away.
    ///
    /// Default 10 s: some hundred times what the largest message takes.
    pub closing: Duration,
    /// **Servers.** How long a client may take, from when it has connected, until it has sent what a stream of the
    /// framing begins with: this crate's own begins with a preface of 16 bytes. One that is slower is
    /// closed with the goodbye [`GoodbyeCode::TOO_SLOW`](crate::framing::GoodbyeCode::TOO_SLOW).
    ///
    /// Default 10 s: clients send it as they connect, so this is for a machine that swaps.
    pub preface: Duration,
    /// **Servers.** How long a client may take to finish a message that it has begun, counted from its first byte;
    /// while it is not read from, because so much is [queued](Limits::queued) for it, the time does not
    /// count. One that is slower is closed as with [`preface`](Limits::preface).
    ///
    /// Default 30 s: a program stopped in a debugger comes back, and even the largest message takes
    /// far less than a second between two processes of one machine.
    pub message_time: Duration,
    /// **Servers.** How long a connection may be without a message in either direction; one that is just sending a
    /// message is held against [`message_time`](Limits::message_time) instead. A request that is being
    /// answered counts for nothing here: with calls, allow more than the slowest answer takes. One
    /// that is quiet for longer is closed with the goodbye
    /// [`GoodbyeCode::IDLE`](crate::framing::GoodbyeCode::IDLE).
    ///
    /// Default `None`, as long as it likes: an idle connection costs less than a KiB, and programs
    /// that talk to a service now and then keep theirs.
    pub idle: Option<Duration>,
    /// **Clients.** How long a client tries to reach a server that is there but busy: a full backlog, or no
    /// free pipe instance. Where there is no server at all, connecting fails at once.
    ///
    /// Default 20 s, the time-out of the classic Win32 pipe client.
    pub connect: Duration,
    /// **Clients.** How long a call waits for its reply when it is not told otherwise.
    ///
    /// Default 30 s: longer than any answer a person would wait for, so that it only ends calls
    /// that are lost.
    pub call: Duration,
    /// **Servers.** How long a server that was told to stop waits for replies still owed and bytes still unsent.
    ///
    /// Default 5 s: what service managers grant before they kill (systemd 90 s, Windows 20 s), with room.
    pub drain: Duration,
}

impl Limits {
    /// The defaults.
    pub fn new() -> Limits {
        Limits::default()
    }

    /// The largest value of [`Limits::message`]: 1 GiB. The wire could carry 4 GiB, but a message
    /// is one piece of memory, and 32-bit systems have no larger ones to give.
    pub const MESSAGE_MAX: usize = 1 << 30;

    /// What longer times are taken for: ten years, so that adding one to the time of day never
    /// overflows on any system.
    const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

    /// A time as it is applied: inside what every system can hold.
    pub(crate) fn clamp(time: Duration) -> Duration {
        time.min(Limits::FOREVER)
    }

    /// When `time` is over that begins now.
    pub(crate) fn until(time: Duration) -> Instant {
        Instant::now() + Limits::clamp(time)
    }

    /// The limits as they are applied: each inside what the wire and the system can hold.
    pub(crate) fn clamped(&self) -> Limits {
        let mut limits = self.clone();
        limits.message = limits.message.min(Limits::MESSAGE_MAX);
        limits.connections = limits.connections.max(1);
        limits.queued = limits.queued.max(1);
        limits.in_flight = limits.in_flight.max(1);
        limits.connections_each = limits.connections_each.max(1);
        limits.connections_kept = limits.connections_kept.min(limits.connections / 2);
        limits.memory_each = limits.memory_each.max(limits.message.saturating_mul(2));
        limits.memory = limits.memory.max(limits.message.saturating_mul(4));
        let Limits { write_stall, closing, preface, message_time, connect, call, drain, .. } =
            &mut limits;
        for time in [write_stall, closing, preface, message_time, connect, call, drain] {
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
    with_memory_each, memory_each: usize;
    with_connections, connections: usize;
    with_connections_each, connections_each: usize;
    with_connections_kept, connections_kept: usize;
    with_queued, queued: usize;
    with_in_flight, in_flight: usize;
    with_write_stall, write_stall: Duration;
    with_closing, closing: Duration;
    with_preface, preface: Duration;
    with_message_time, message_time: Duration;
    with_idle, idle: Option<Duration>;
    with_connect, connect: Duration;
    with_call, call: Duration;
    with_drain, drain: Duration;
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message: 16 << 20,
            memory: 256 << 20,
            memory_each: 64 << 20,
            connections: 16_384,
            connections_each: 1024,
            connections_kept: 256,
            queued: 1 << 20,
            in_flight: 1024,
            write_stall: Duration::from_secs(30),
            closing: Duration::from_secs(10),
            preface: Duration::from_secs(10),
            message_time: Duration::from_secs(30),
            idle: None,
            connect: Duration::from_secs(20),
            call: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_no_clock_can_hold_are_brought_inside() {
        let step = Duration::from_nanos(1);
        let forever = Limits::FOREVER;
        for (asked, applied) in
            [(forever - step, forever - step), (forever, forever), (Duration::MAX, forever)]
        {
            let limits = Limits {
                write_stall: asked,
                closing: asked,
                preface: asked,
                message_time: asked,
                idle: Some(asked),
                connect: asked,
                call: asked,
                drain: asked,
                ..Limits::default()
            };
            let limits = limits.clamped();
            assert_eq!(limits.idle, Some(applied));
            let Limits {
                write_stall, closing, preface, message_time, connect, call, drain, ..
            } = limits;
            for time in [write_stall, closing, preface, message_time, connect, call, drain] {
                assert_eq!(time, applied);
            }
        }
    }

    #[test]
    fn limits_are_brought_inside_what_can_be_held() {
        let mut limits = Limits::default();
        for (asked, applied) in [
            (Limits::MESSAGE_MAX - 1, Limits::MESSAGE_MAX - 1),
            (Limits::MESSAGE_MAX, Limits::MESSAGE_MAX),
            (Limits::MESSAGE_MAX + 1, Limits::MESSAGE_MAX),
        ] {
            limits.message = asked;
            assert_eq!(limits.clamped().message, applied);
        }
        for (asked, applied) in [(0, 1), (1, 1), (2, 2)] {
            limits.connections = asked;
            limits.queued = asked;
            limits.in_flight = asked;
            let applied_limits = limits.clamped();
            assert_eq!(applied_limits.connections, applied);
            assert_eq!(applied_limits.queued, applied);
            assert_eq!(applied_limits.in_flight, applied);
        }
    }

    #[test]
    fn what_is_kept_is_never_more_than_half_and_each_has_one() {
        for (connections, asked, applied) in [(8, 3, 3), (8, 4, 4), (8, 5, 4), (1, 1, 0)] {
            let limits = Limits { connections, connections_kept: asked, ..Limits::default() };
            assert_eq!(limits.clamped().connections_kept, applied, "{connections}, {asked}");
        }
        for (asked, applied) in [(0, 1), (1, 1), (2, 2)] {
            let limits = Limits { connections_each: asked, ..Limits::default() };
            assert_eq!(limits.clamped().connections_each, applied);
        }
    }

    #[test]
    fn the_memory_holds_some_messages_whatever_their_size() {
        for (asked, applied) in [(399, 400), (400, 400), (401, 401)] {
            let limits = Limits { message: 100, memory: asked, ..Limits::default() };
            assert_eq!(limits.clamped().memory, applied);
        }
        for (asked, applied) in [(199, 200), (200, 200), (201, 201)] {
            let limits = Limits { message: 100, memory_each: asked, ..Limits::default() };
            assert_eq!(limits.clamped().memory_each, applied);
        }
    }
}
