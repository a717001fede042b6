//! Connecting and disconnecting clients leak nothing: no memory, and on Linux no descriptor. (The
//! handles of Windows are counted beside the code that opens them, in
//! `backends/named_pipe/cycles.rs`.) A separate program: the memory of other tests would be counted too.

use cap::Cap;
use msgpipe::framing::{Framing, Layer, Native};
use msgpipe::{ClientOptions, Event, Instances, LocalServer, MessageServer, ServerOptions};
use std::alloc::System;
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// A deadline that only a failing test reaches.
const PATIENCE: Duration = Duration::from_secs(60);

/// On Wine each takes some milliseconds.
const CLIENTS: usize = if cfg!(windows) { 500 } else { 10_000 };

/// Behind so many clients everything is there that is kept.
const WARM_UP: usize = CLIENTS / 10;

/// Buffers differ by a few KiB from one moment to the next: far less than an allocation for each.
const SLACK: usize = 8 * 1024;

/// How many descriptors this process has open, where that can be seen.
fn descriptors() -> usize {
    if cfg!(target_os = "linux") { std::fs::read_dir("/proc/self/fd").unwrap().count() } else { 0 }
}

/// A client that sends a message, gets it back and closes.
fn connect_and_close(server: &mut LocalServer, options: &ClientOptions, name: &str) {
    let client = options.connect_messages(name).unwrap();
    client.send("hello").unwrap();
    let mut client = Some(client);
    loop {
        match server.poll(Some(PATIENCE)).unwrap().expect("no event came") {
            Event::Message(id, message) => {
                server.send(id, message).unwrap();
                assert!(server.poll(Some(Duration::ZERO)).unwrap().is_none());
                let answer = client.take().unwrap().receive(Some(PATIENCE)).unwrap();
                assert_eq!(answer, "hello");
            }
            Event::Closed(..) => return,
            _ => {}
        }
    }
}

#[test]
fn connecting_and_disconnecting_clients_leak_nothing() {
    let native: Arc<dyn Framing> = Arc::new(Native::new(Layer::Messages, 4096));
    let framings = [
        native,
        #[cfg(any(windows, target_os = "linux", target_os = "android"))]
        Arc::new(msgpipe::framing::OsMessage::new(4096)),
    ];
    for framing in framings {
        for instances in [Instances::Unlimited, Instances::Fixed(1)] {
            let name = format!("msgpipe.cycles.{}", std::process::id());
            let options = ServerOptions::new().framing(framing.clone()).instances(instances);
            let mut server = options.bind_messages(name.as_str()).unwrap();
            let options = ClientOptions::new().framing(framing.clone());
            for _ in 0..WARM_UP {
                connect_and_close(&mut server, &options, &name);
            }
            let before = (HEAP.allocated(), descriptors());
            for _ in WARM_UP..CLIENTS {
                connect_and_close(&mut server, &options, &name);
            }
            let after = (HEAP.allocated(), descriptors());
            assert!(after.0 < before.0 + SLACK, "{instances:?}: {after:?}, {before:?} before");
            assert_eq!(after.1, before.1, "{instances:?}");
        }
    }
}
