//! The async client, for programs that run in [tokio](https://docs.rs/tokio). Feature `tokio`.
//!
//! ```no_run
//! # async fn f() -> Result<(), msgpipe::Error> {
//! let client = msgpipe::tokio::Client::connect("com.example.notes").await?;
//! let (one, two) = tokio::join!(client.call("one"), client.call("two")); // both at once
//! println!("{:?} {:?}", one?, two?);
//! # Ok(())
//! # }
//! ```
//!
//! [`Client`] says how it works. The server is the same [`Server`](crate::Server), which blocks a thread of its own:
//! `std::thread::spawn`, or tokio's `spawn_blocking`.
#![forbid(unsafe_code)]

mod adapters;
mod connecting;
mod driver;
mod opening;
mod over;
mod reconnecting;
mod runtime;

pub use crate::client::driven::{Call, Client, Incoming, Parts, Upload};
pub use crate::server::Tasks;
pub use driver::Driver;
pub use over::ByteStream;
pub use reconnecting::{ReconnectingClient, Subscription};
