//! The async client in tokio against the blocking server, and async handlers: in a runtime of one thread, and of two.

mod tokio_cases {
    mod calls;
    mod cancelling;
    mod common;
    mod connecting;
    mod connecting_again;
    mod counters;
    mod ends;
    mod fairness;
    mod handler_ends;
    mod handlers;
    mod killed;
    mod over_stream;
    mod parts;
    mod places;
    mod processes;
    mod reconnecting;
    mod runtimes;
    mod subscribing;
    mod unasked;
}
