//! What a server of calls shows of itself to tools: whether it answers, what it counts, the frames of its clients.
//!
//! Every [`Server`](crate::Server) answers requests with the [reserved](is_reserved) numbers of methods itself; its
//! handler does not see them. Only programs of the server's own user get more than an answer to a ping, and [`Monitor`] says
//! how much. The command `msgpipe` (`ping`, `inspect`, `tap`) is made of these; `docs/PROTOCOL.md`, "Reserved methods", has
//! the bytes.
//!
//! ```
//! use msgpipe::{Client, Limits, Server, memory, monitor};
//!
//! let hub = memory::Hub::new();
//! let server = Server::over(hub.listen_for_calls("echo", Limits::default())?, Limits::default());
//! let stopper = server.stopper();
//! let serving = std::thread::spawn(move || server.serve(|request| request.body()));
//!
//! let client = Client::over(Box::new(hub.connect("echo")?), "echo in memory", Limits::default());
//! assert_eq!(client.with_method(monitor::PING).call("still there?")?, "still there?");
//! let info = client.with_method(monitor::INFO).call("")?;
//! assert!(info.starts_with(b"version="));
//! # stopper.stop();
//! # serving.join().unwrap()?;
//! # Ok::<_, msgpipe::Error>(())
//! ```
#![forbid(unsafe_code)]

mod seen;

pub use seen::{Frame, Seen, What};

/// The reply is the request's body. For everyone who may connect.
pub const PING: u32 = FIRST;

/// The reply is a text of lines, `key=value`: the version of this crate, the endpoint, the process, what the server
/// [counts](crate::ServerCounts), its limits, and up to 64 of its clients. Unknown keys are to be skipped.
pub const INFO: u32 = FIRST + 1;

/// The reply are parts, each of which is something that was [seen](Seen), until the server stops or the client ends the call.
///
/// What the client does not read in time is dropped, and nobody waits for it: [`Seen::number`] has a gap then. The client's
/// own connection is not shown. At most [`TAPS_MAX`] calls of this method are open at a time.
pub const TAP: u32 = FIRST + 2;

/// The reply is what the application says of its methods: [`Server::describe`](crate::Server::describe).
pub const DESCRIBE: u32 = FIRST + 3;

/// The first reserved number.
const FIRST: u32 = 0xFFFF_FF00;

/// The most calls of [`TAP`] at a time: each costs the server time for every frame of all clients, and four are more than
/// one person looks at.
pub const TAPS_MAX: usize = 4;

/// Whether requests with this number of a method are answered by the server itself: the last 256 numbers, from
/// `0xFFFF_FF00` on. Those that have no meaning get [`ErrorReply::NO_METHOD`](crate::ErrorReply::NO_METHOD).
///
/// ```
/// use msgpipe::monitor;
/// assert!(monitor::is_reserved(monitor::PING) && !monitor::is_reserved(0xFFFF_FEFF));
/// ```
#[must_use]
pub const fn is_reserved(method: u32) -> bool {
    method >= FIRST
}

/// How much a server shows to programs of its own user; [`Server::monitor`](crate::Server::monitor).
///
/// What a connection carries may be secret even from a user's other programs, so bodies are not shown unless the
/// application says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Monitor {
    /// Nothing: only [`PING`] is answered, and [`DESCRIBE`].
    Off,
    /// Counters, clients, and of frames the size and the first 16 bytes: kind, flags, call, method, time.
    #[default]
    Heads,
    /// Also so many bytes of the metadata and the body of each frame, at most
    /// [`BODIES_MAX`](Monitor::BODIES_MAX).
    Bodies(usize),
}

impl Monitor {
    /// The most bytes after the first 16 of a frame that are shown: enough to read a request or to see what a large one
    /// begins with, and little beside the 512 KiB that may wait for each reader.
    pub const BODIES_MAX: usize = 16 * 1024;

    /// How many bytes of a frame are shown. `None`: nothing at all.
    pub(crate) fn shown(self) -> Option<usize> {
        match self {
            Monitor::Off => None,
            Monitor::Heads => Some(crate::exchange::ENVELOPE_LEN),
            Monitor::Bodies(most) => {
                Some(crate::exchange::ENVELOPE_LEN + most.min(Monitor::BODIES_MAX))
            }
        }
    }
}
