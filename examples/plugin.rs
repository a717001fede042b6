//! A host and its plug-in, which talk over a connection without a name.
//!
//! ```text
//! cargo run --example plugin              # the host: starts the plug-in twice, calls it, and ends it
//! plugin child                            # the plug-in, started by `Client::spawn`
//! plugin stdio                            # the plug-in on its standard streams, also as `ssh host plugin stdio`
//! ```

use msgpipe::{ChildProcess, Client, MessageServer, Request, Server};
use std::error::Error;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] => host(),
        ["child"] => Server::inherited().map_err(Into::into).and_then(plug_in),
        ["stdio"] => Server::over_stdio().map_err(Into::into).and_then(plug_in),
        _ => Err("usage: plugin [child | stdio]".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plugin: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves the host until it has gone: then `serve` returns, and the process ends.
fn plug_in<M: MessageServer>(server: Server<M>) -> Result<(), Box<dyn Error>> {
    server.serve(|request: Request| {
        // On the standard streams this goes to the standard error: it cannot break the protocol.
        println!("plug-in: {} bytes", request.body().len());
        request.body().to_ascii_uppercase()
    })?;
    Ok(())
}

fn host() -> Result<(), Box<dyn Error>> {
    let plugin = || std::env::current_exe().map(Command::new);
    call(Client::spawn(plugin()?.arg("child"))?)?;
    call(Client::spawn_stdio(plugin()?.arg("stdio"))?)
}

fn call((client, mut child): (Client, ChildProcess)) -> Result<(), Box<dyn Error>> {
    let reply = client.call("hello")?;
    println!("host: {} answered {:?}", client.endpoint(), String::from_utf8_lossy(&reply));
    drop(client); // the end of the connection, and so of the plug-in
    println!("host: it has ended: {}", child.wait()?);
    Ok(())
}
