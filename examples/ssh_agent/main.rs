//! An SSH agent: a server for an existing protocol and existing clients
//! (`ssh`, `ssh-add`, `ssh-keygen`, `git`).
//!
//! ```text
//! cargo run --example ssh_agent -- "$HOME/.ssh/agent.sock"    # until it is killed; prints the next line
//! export SSH_AUTH_SOCK=/home/me/.ssh/agent.sock               # in another shell
//! ssh-add ~/.ssh/id_ed25519
//! ssh-add -l
//! ssh some-host
//! ```
//!
//! On Windows the argument is a pipe. The system's own OpenSSH uses `\\.\pipe\openssh-ssh-agent`, which is free
//! once the service "OpenSSH Authentication Agent" has been stopped.
//!
//! It keeps Ed25519 keys in memory while it runs. It refuses all others: keys of
//! other types, in hardware or with certificates, and constraints (`ssh-add -t`, `-c`, `-h`). It is only an
//! example: it does not wipe every copy of a key in its memory after use, and does not prevent
//! the system from swapping it out.

mod agent;

use agent::Agent;
use msgpipe::framing::{GoodbyeCode, LengthPrefix};
use msgpipe::{CloseReason, Endpoint, Event, Goodbye, MessageServer, ServerOptions};
use std::process::ExitCode;

/// The largest message, as in OpenSSH (`AGENT_MAX_LEN`).
const MESSAGE_MAX: usize = 256 * 1024;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(place), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: ssh_agent SOCKET (on Windows: ssh_agent PIPE)");
        return ExitCode::FAILURE;
    };
    match serve(&place) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ssh_agent: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(place: &str) -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = match cfg!(windows) {
        true => Endpoint::pipe(place)?,
        // Clients may run in other directories.
        false => Endpoint::path(std::path::absolute(place)?)?,
    };
    let framing = LengthPrefix::big_endian(MESSAGE_MAX);
    let mut server = ServerOptions::new().framing(framing).bind_messages(&endpoint)?;
    println!("SSH_AUTH_SOCK={}", server.endpoint());

    let mut agent = Agent::default();
    while let Some(event) = server.poll(None)? {
        match event {
            Event::Message(client, request) => {
                let answer = agent.answer(&request);
                if server.send(client, answer.into()).is_err() {
                    // It has disconnected, or sends requests without reading.
                    server.close(client, Goodbye::new(GoodbyeCode::UNREAD, "answers left unread"));
                }
            }
            Event::Closed(client, reason) if !matches!(reason, CloseReason::PeerClosed) => {
                eprintln!("{client}: {reason}");
            }
            _ => {}
        }
    }
    Ok(())
}
