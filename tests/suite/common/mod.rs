//! Shared parts of the tests: backends to run the same suite against, and raw peers that break
//! the rules.

mod backend;
pub mod by_hand;
#[cfg(windows)]
mod foreign;
pub mod observed;
#[cfg(windows)]
pub mod program;
pub mod raw;
pub mod roles;
#[cfg(unix)]
mod scratch;
pub mod serving;
pub mod stream;

pub use backend::{Backend, Local, Memory};
pub use raw::Raw;
#[cfg(unix)]
pub use scratch::{Scratch, leave_socket, set_mode};
pub use stream::Stream;

use msgpipe::{CloseReason, ConnectionId, Event, MessageServer};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A deadline that only a failing test reaches, even on a busy machine under Wine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A unique name.
pub fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("msgpipe.test.{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The next event.
#[track_caller]
pub fn next(server: &mut impl MessageServer) -> Event {
    server.poll(Some(PATIENCE)).unwrap().expect("no event came")
}

/// The next client.
#[track_caller]
pub fn connected(server: &mut impl MessageServer) -> ConnectionId {
    match next(server) {
        Event::Connected(id) => id,
        event => panic!("not a client: {event:?}"),
    }
}

/// The next client, after it has been sent the server's preface: it may send large messages then.
#[track_caller]
pub fn welcomed(server: &mut impl MessageServer) -> ConnectionId {
    let id = connected(server);
    let event = server.poll(Some(Duration::ZERO)).unwrap();
    assert!(event.is_none(), "{event:?}");
    id
}

/// The next message.
#[track_caller]
pub fn message(server: &mut impl MessageServer) -> (ConnectionId, bytes::Bytes) {
    match next(server) {
        Event::Message(id, message) => (id, message),
        event => panic!("not a message: {event:?}"),
    }
}

/// The next end of a connection; skips other events.
#[track_caller]
pub fn closed(server: &mut impl MessageServer) -> (ConnectionId, CloseReason) {
    loop {
        if let Event::Closed(id, reason) = next(server) {
            return (id, reason);
        }
    }
}

/// Bytes that differ by position, so that a shifted or mixed message is noticed.
pub fn pattern(size: usize, seed: u8) -> Vec<u8> {
    (0..size)
        .map(|at| (at as u8).wrapping_mul(31).wrapping_add((at >> 8) as u8).wrapping_add(seed))
        .collect()
}

/// Whether this is Wine, which has libraries that Windows does not have.
pub fn on_wine() -> bool {
    cfg!(windows) && std::path::Path::new(r"C:\windows\system32\winecfg.exe").exists()
}
