//! An in-memory transport within one process, for tests and for the examples in these docs.
//!
//! Each [`Hub`] is a separate namespace, so that tests do not interfere. Streams behave as sockets do, with
//! fault injection: [`Faults`] cuts every read and write short, [`Control`] stalls or resets a connection.
//! Faults do not depend on time or chance.
//!
//! With the feature `test-util` servers, async clients and handlers of an application run in a `Simulation`: in one thread,
//! with a clock that stands still while they work, in an order that a seed decides, on connections that are cut, stalled
//! and refused. It has an example of how an application tests its own service against many seeds.
//!
//! ```
//! use msgpipe::{Limits, Server, memory};
//!
//! let hub = memory::Hub::new();
//! let server = Server::over(hub.listen_for_calls("upper", Limits::default())?, Limits::default());
//! let stopper = server.stopper();
//! let serving = std::thread::spawn(move || server.serve(|request| request.body().to_ascii_uppercase()));
//!
//! // A client whose bytes arrive one at a time.
//! let mut faults = memory::Faults::default();
//! faults.chunk = 1;
//! let client = hub.client_with("upper", Limits::default(), faults)?;
//! assert_eq!(client.call("hello")?, "HELLO");
//!
//! stopper.stop();
//! serving.join().unwrap()?;
//! # Ok::<_, msgpipe::Error>(())
//! ```

mod client;
mod control;
mod hub;
mod server;
#[cfg(feature = "test-util")]
mod simulated;
mod wire;

pub use client::MemoryStream;
pub use control::Control;
pub use hub::Hub;
pub use server::MemoryServer;
pub use wire::Faults;

#[cfg(feature = "test-util")]
pub use crate::simulation::{Ended, SimulatedTask, Simulation, Stuck, World};
