//! The async client in tokio, against the blocking server in threads: in a runtime of one thread, and of two.

mod tokio_cases {
    mod calls;
    mod cancelling;
    mod common;
    mod connecting;
    mod ends;
    mod fairness;
    mod parts;
    mod processes;
    mod runtimes;
    mod unasked;
}
