//! Calls of [`msgpipe`] between machines, through an engine that exists: [NATS](https://nats.io).
//!
//! The handlers stay as they are. [`Gateway`] is an instance of a service: it forwards what the engine gives it to a server of
//! msgpipe. [`NatsClient`] calls the service, and [`NatsClient::forward`] is the handler of a bridge, so that local
//! clients need not know of the engine. Instances, discovery and statistics are those of the service API of NATS:
//! `nats micro list`, `nats micro stats NAME`.
//!
//! | of msgpipe | through the engine |
//! |---|---|
//! | body, up to `Limits::message` | up to the engine's `max_payload` with the headers, 1 MiB by default: [`Error::TooLarge`]; of a reply [`ErrorReply::REPLY_TOO_LARGE`](msgpipe::ErrorReply::REPLY_TOO_LARGE) |
//! | method, metadata of a request | headers `Msgpipe-Method`, `Msgpipe-Metadata` (percent-encoded `KEY:VALUE`) |
//! | deadline | header `Msgpipe-Time-Ms`, the time that was left when it was sent; the instance begins it anew, so the way is not counted |
//! | error: code, text, details | `Nats-Service-Error-Code`, `Nats-Service-Error` (one line, for tools), `Msgpipe-Error-Text`, `Msgpipe-Error-Details` (percent-encoded) |
//! | [`is_not_begun`](Error::is_not_begun) | the same; header `Msgpipe-Begun: no` |
//! | requests, replies of any number of parts | **no**: a bridge answers an upload with `PARTS_REFUSED`; a handler that replies with parts has no call that takes them: the reply is empty |
//! | cancel | **no**: a call that is dropped may be carried out; the instance cancels it when its time is over |
//! | order of one client's requests | **no**: each goes to any instance |
//! | exactly once | **no**, as in msgpipe: at most once, and `is_not_begun` says what can be repeated |
//! | notifications, topics, calls by the server | **no**: use the subjects of NATS |
//! | metadata of a reply; nested calls noticed (`TOO_NESTED`) | **no** |
//! | who calls (`Request::peer`) | **no**: the peer is the gateway; credentials of NATS say who may use the service |
#![forbid(unsafe_code)]

mod client;
mod engine;
mod error;
mod gateway;
mod headers;
mod pending;

/// The crate of the engine's client, for [`ConnectOptions`](async_nats::ConnectOptions).
pub use async_nats;
pub use client::{DEFAULT_TIMEOUT, IN_FLIGHT, NatsClient};
pub use error::{Error, NOT_BEGUN, UNKNOWN};
pub use gateway::{Gateway, GatewayOptions};
