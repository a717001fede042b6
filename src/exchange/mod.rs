//! Calls over whole messages: the protocol machine of both sides, for those who drive it themselves.
//!
//! [`Client`](crate::Client) and [`Server`](crate::Server) drive it; most applications need nothing of this
//! module. It is for clients and servers on another runtime or transport, for tests and for tools. The
//! machine does no I/O and reads no clock: messages of the layer below go in, frames and [events](Event) come
//! out. `docs/PROTOCOL.md`, "Calls", specifies the frames.
//!
//! - Both sides can call. A call has two directions, request and reply, each of one message or of many.
//! - A message of any size is sent in pieces, so that it holds up other calls for the time of one piece only.
//! - Credit limits what arrives and is not taken, for each call and for the connection.
//! - Each direction ends exactly once: in order, with an error, or aborted. Either side can stop what it
//!   reads, and the caller can cancel the call.
//!
//! ```
//! use bytes::Bytes;
//! use msgpipe::exchange::{Config, Event, Machine, Message, Opening, Side};
//! use std::time::Instant;
//!
//! let now = Instant::now();
//! let mut client = Machine::new(Side::Client, Config::default());
//! let mut server = Machine::new(Side::Server, Config::default());
//! # let pass = |from: &mut Machine<()>, to: &mut Machine<()>| {
//! #     while let Some(frame) = from.transmit(now) {
//! #         to.receive(now, frame.to_bytes()).unwrap();
//! #     }
//! # };
//! let message = Message::new(Bytes::from_static(b"hello"), true);
//! let call = client.open(Opening { message: Some(message), ..Opening::default() }, ())?;
//! pass(&mut client, &mut server); // each frame of `transmit` goes to `receive` of the other
//! while let Some(event) = server.next_event() {
//!     if let Event::Request { id, message: Some((body, charge)), .. } = event {
//!         server.taken(id, charge);
//!         server.give_back(charge);
//!         server.send(id, Message::new(body, true))?;
//!         server.release(id);
//!     }
//! }
//! pass(&mut server, &mut client);
//! let replies = std::iter::from_fn(|| client.next_event());
//! let replies: Vec<_> = replies.filter(|event| matches!(event, Event::Message { .. })).collect();
//! let [Event::Message { id, arrived }] = &replies[..] else { panic!("{replies:?}") };
//! assert_eq!((*id, &arrived.body[..], arrived.last), (call, &b"hello"[..], true));
//! client.release(call);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod call;
mod carrying;
mod credit;
mod errors;
mod event;
mod frame;
mod ids;
mod incoming;
mod machine;
mod metadata;
mod outgoing;
mod settings;
mod violation;
mod whole;

pub use credit::MESSAGE_COST;
pub use event::{Cancelled, End, Event, abort};
pub use frame::{ENVELOPE_LEN, ERROR_MAX, Frame, HEAD_MAX, Head, METADATA_MAX};
pub use ids::Side;
pub use incoming::{Arrived, Charge};
pub use machine::{
    CONTROL_MAX, Config, Machine, OpenError, Opening, PIECE, PIECE_ALONE, PIECE_OF_LARGE, SendError,
};
pub use metadata::{DoesNotFit, Metadata};
pub use outgoing::Message;
pub(crate) use settings::ASSUMED_CALLS;
pub use settings::Settings;
pub use violation::Violation;

pub(crate) use carrying::carries_calls;
pub(crate) use machine::BriefEvent;
