//! The behaviour of the public interface, on every transport.

mod always_busy;
mod attacks;
mod bad_input;
mod both_ways;
mod call_ends;
mod call_limits;
mod calls;
mod cancelling;
mod client_streams;
mod clients;
mod common;
mod conformance;
mod connections;
mod counters;
mod crowd;
#[cfg(target_os = "linux")]
mod descriptors;
#[cfg(windows)]
mod ended_threads;
mod faults;
#[cfg(windows)]
mod foreign;
mod framings;
mod free_names;
mod greedy;
#[cfg(unix)]
mod half_close;
#[cfg(unix)]
mod handed_over;
mod handlers;
mod hostile;
mod incoming;
mod incoming_limits;
mod instances;
mod killed;
mod killed_often;
mod listening;
mod mixed_replies;
mod monitor;
#[cfg(windows)]
mod named_pipe;
mod nested_calls;
mod notifying;
#[cfg(any(windows, target_os = "linux", target_os = "android"))]
mod os_messages;
#[cfg(target_os = "linux")]
mod other_users;
mod own_answers;
mod own_loop;
#[cfg(unix)]
mod own_loop_server;
mod part_limits;
mod parts_without_memory;
#[path = "../passing/mod.rs"]
mod passing;
#[cfg(windows)]
mod pipe_access;
mod processes;
mod reply_parts;

mod request_limits;
mod request_parts;
mod served_clients;
mod server_calls;
#[cfg(unix)]
mod signals;
mod slow_peers;
#[cfg(unix)]
mod socket_files;
#[cfg(unix)]
mod stopped;
#[cfg(unix)]
mod takeover;
mod topics;
#[cfg(unix)]
mod unix_socket;
mod waiting_peers;
mod worker_handlers;
mod worker_stops;
mod workers;

/// Generates each test three times: for the transport of this operating system, for the in-memory one, and for a stream of
/// bytes.
macro_rules! on_every_transport {
    ($($test:ident),* $(,)?) => {
        mod local {
            $(#[test] fn $test() { super::$test::<crate::common::Local>(); })*
        }
        mod memory {
            $(#[test] fn $test() { super::$test::<crate::common::Memory>(); })*
        }
        mod stream {
            $(#[test] fn $test() { super::$test::<crate::common::Stream>(); })*
        }
    };
}
pub(crate) use on_every_transport;

/// Generates each test twice, without the stream of bytes: it has no name, one client, and threads in between.
macro_rules! on_named_transports {
    ($($test:ident),* $(,)?) => {
        mod named_local {
            $(#[test] fn $test() { super::$test::<crate::common::Local>(); })*
        }
        mod named_memory {
            $(#[test] fn $test() { super::$test::<crate::common::Memory>(); })*
        }
    };
}
pub(crate) use on_named_transports;
