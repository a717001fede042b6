//! Services of [tower](https://docs.rs/tower): a client is one, and a server serves one. Feature `tower`.
//!
//! ```no_run
//! # async fn f() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! use msgpipe::tower::ClientService;
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt};
//!
//! let client = msgpipe::tokio::Client::connect("com.example.notes").await?;
//! let mut notes = ServiceBuilder::new()
//!     .load_shed()
//!     .timeout(Duration::from_secs(1))
//!     .service(ClientService::new(client));
//! let reply = notes.ready().await?.call("hello".into()).await?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod client;
mod server;

pub use client::{ClientService, Reply};
