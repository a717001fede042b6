//! An echo server, and a client that calls it.
//!
//! ```text
//! cargo run --example echo                       # both: starts the server as a second process
//! cargo run --example echo -- server [NAME]      # the server alone, until Ctrl-C
//! cargo run --example echo -- client [NAME]      # the client alone
//! ```
//!
//! (The second process is `echo child NAME`: a server that stops when its standard input ends.)
//!
//! The name is `msgpipe.example.echo` unless another is given.

use msgpipe::{Client, Error, Server};
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Instant;

const NAME: &str = "msgpipe.example.echo";

/// The server prints this when clients can connect.
const LISTENING: &str = "listening at";

/// The number of timed round trips.
const ROUNDS: u32 = 1000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] => both(),
        ["server"] => server(NAME),
        ["server", name] => server(name),
        ["child", name] => child(name).map_err(Into::into),
        ["client"] => client(NAME).map_err(Into::into),
        ["client", name] => client(name).map_err(Into::into),
        _ => Err("usage: echo [server [NAME] | client [NAME]]".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn server(name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::bind(name)?;
    println!("{LISTENING} {}", server.endpoint());
    let stopper = server.stopper();
    ctrlc::set_handler(move || stopper.stop())?;
    server.serve(|request| request.body())?;
    println!("stopped");
    Ok(())
}

/// A server that stops when its parent process closes its input, or ends.
fn child(name: &str) -> Result<(), Error> {
    let server = Server::bind(name)?;
    println!("{LISTENING} {}", server.endpoint());
    let stopper = server.stopper();
    thread::spawn(move || {
        std::io::stdin().lines().for_each(drop);
        stopper.stop();
    });
    server.serve(|request| request.body())
}

fn client(name: &str) -> Result<(), Error> {
    let client = Client::connect(name)?;
    let reply = client.call("hello")?;
    println!("reply: {}", String::from_utf8_lossy(&reply));

    let start = Instant::now();
    for _ in 0..ROUNDS {
        client.call("hello")?;
    }
    println!("round trip: {:.1?}, the mean of {ROUNDS}", start.elapsed() / ROUNDS);
    Ok(())
}

/// Starts the server as a second process, calls it, and stops it.
fn both() -> Result<(), Box<dyn std::error::Error>> {
    // A unique name, so that two runs at once do not interfere.
    let name = format!("{NAME}.{}", std::process::id());
    let mut server = Command::new(std::env::current_exe()?)
        .args(["child", &name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut first_line = String::new();
    let output = server.stdout.take().ok_or("the server has no output")?;
    BufReader::new(output).read_line(&mut first_line)?;
    print!("server: {first_line}");
    let called = match first_line.starts_with(LISTENING) {
        true => client(&name).map_err(Into::into),
        false => Err("the server did not start".into()),
    };
    drop(server.stdin.take());
    server.wait()?;
    called
}
