//! Servers that clients start on demand, and connect to again when they have ended: real processes.
//!
//! This test program plays the server and its clients itself: it starts itself again with a role.

mod start {
    mod crowd;
    #[cfg(unix)]
    mod detached;
    mod failures;
    mod left;
    mod lives;
    pub mod playing;
    mod reconnecting;
    pub mod roles;
    mod subscribing;
    mod waiting;
}

/// Not a test by itself: a process with a role in its environment plays it here.
#[test]
fn a_process_plays_its_role() {
    start::playing::play();
}
