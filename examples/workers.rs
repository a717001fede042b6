//! A server whose handler blocks, and clients that find it free and busy.
//!
//! ```text
//! cargo run --example workers
//! ```
//!
//! The handler reads a line of a device that has none for a while: here, of a thread that waits until it is told. The
//! server has two workers, and a queue of two requests for each connection.

use msgpipe::{Client, Error, ErrorReply, Server, Workers};
use std::sync::{Condvar, Mutex};
use std::thread;

const WORKERS: usize = 2;
const QUEUE: usize = 2;

/// A device that has nothing to read until it is ready.
struct Device {
    is_ready: Mutex<bool>,
    changed: Condvar,
}

impl Device {
    /// Blocks until the device is ready.
    fn read(&self, name: &str) -> Result<String, String> {
        let is_ready = self.is_ready.lock().map_err(|error| error.to_string())?;
        let waited = self.changed.wait_while(is_ready, |is_ready| !*is_ready);
        waited.map(|_| format!("a line for {name}")).map_err(|error| error.to_string())
    }

    fn set_ready(&self) {
        if let Ok(mut is_ready) = self.is_ready.lock() {
            *is_ready = true;
            self.changed.notify_all();
        }
    }
}

static DEVICE: Device = Device { is_ready: Mutex::new(false), changed: Condvar::new() };

fn main() -> Result<(), Error> {
    // A unique name, so that two runs at once do not interfere.
    let name = format!("msgpipe.example.workers.{}", std::process::id());
    let server = Server::bind(name.as_str())?;
    let stopper = server.stopper();
    let serving = thread::spawn(move || {
        let workers = Workers::new().threads(WORKERS).queue(QUEUE);
        server.serve_workers(workers, |request| {
            DEVICE.read(&String::from_utf8_lossy(&request.body()))
        })
    });
    let called = call(&name);
    stopper.stop();
    let served = serving.join().expect("the server does not panic");
    called.and(served)
}

/// Sends as many requests as the server has workers and places, and one more.
fn call(name: &str) -> Result<(), Error> {
    let client = Client::connect(name)?;
    let mut calls = Vec::new();
    for number in 0..WORKERS + QUEUE {
        calls.push(client.start(format!("request {number}"))?);
    }
    match client.call("one too many") {
        Err(error) if error.reply().is_some_and(|reply| reply.code == ErrorReply::BUSY) => {
            println!("busy, and not begun: {}", error.is_not_begun());
        }
        other => println!("not busy: {:?}", other?),
    }
    DEVICE.set_ready();
    for call in calls {
        println!("{}", String::from_utf8_lossy(&call.wait()?));
    }
    Ok(())
}
