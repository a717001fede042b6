//! A daemon that its clients start when they need it, and that ends when it has no client any more.
//!
//! ```text
//! cargo run --example on_demand                    # a client, at a name of its own
//! cargo run --example on_demand -- client [NAME]   # a client: run some at once
//! cargo run --example on_demand -- server [NAME]   # the daemon alone
//! ```
//!
//! The name is `msgpipe.example.on_demand` unless another is given.

use msgpipe::{Backoff, Client, ClientOptions, Error, Server};
use std::process::{Command, ExitCode};

const NAME: &str = "msgpipe.example.on_demand";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        // A unique name, so that two runs at once do not interfere.
        [] => client(&format!("{NAME}.{}", std::process::id())),
        ["client"] => client(NAME),
        ["client", name] => client(name),
        ["server"] => server(NAME),
        ["server", name] => server(name),
        _ => Err("usage: on_demand [client [NAME] | server [NAME]]".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The client that started this process returns the last lines of it with its error.
            eprintln!("on_demand: {error}");
            ExitCode::FAILURE
        }
    }
}

fn server(name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let server = match Server::bind(name) {
        Ok(server) => server,
        // Another one was faster: its clients, and those of this one, have a server.
        Err(Error::AlreadyServed { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let (stopper, connections) = (server.stopper(), server.connections());
    let server = server.on_closed(move |_, _| {
        if connections.count() == 0 {
            stopper.stop();
        }
    });
    server.serve(|_| format!("process {}", std::process::id()))?;
    Ok(())
}

fn client(name: &str) -> Result<(), Box<dyn std::error::Error>> {
    if let Err(error) = Client::connect(name) {
        println!("before: {error}");
    }
    let mut daemon = Command::new(std::env::current_exe()?);
    daemon.args(["server", name]);
    let options = ClientOptions::new().start_with(daemon);
    let (one, other) = (options.connect(name)?, options.connect(name)?);
    println!("this is process {}", std::process::id());
    println!("served by {}", String::from_utf8_lossy(&one.call("who serves?")?));
    println!("served by {}", String::from_utf8_lossy(&other.call("who serves?")?));

    // The daemon ends with its last client. One that reconnects starts it again when it needs it.
    drop((one, other));
    let client = options.reconnecting(name, Backoff::new())?;
    let served = client.idempotent().call("who serves?")?;
    println!("later served by {}", String::from_utf8_lossy(&served));
    Ok(())
}
