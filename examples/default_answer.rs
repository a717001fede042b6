//! A server for existing programs: each request, a message of the operating system without a header,
//! gets the same answer. It behaves like the classic Win32 pipe servers, with a fixed or an unlimited number
//! of instances, that existing clients of message-mode pipes were written against.
//!
//! ```text
//! cargo run --example default_answer                               # until it is killed
//! cargo run --example default_answer -- --instances 4              # four clients at once
//! cargo run --example default_answer -- '\\.\pipe\another.name'    # on Unix /path/of/a.socket
//! ```
//!
//! The default endpoint is `\\.\pipe\mynamedpipe`, and on Linux a `SOCK_SEQPACKET` socket whose path it
//! prints. Requests and the answer are zero-terminated text in UTF-16LE.

use msgpipe::framing::OsMessage;
use msgpipe::{Endpoint, Event, Instances, MessageServer, ServerOptions};
use std::process::ExitCode;

const ANSWER: &str = "Default answer from server\0";

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("default_answer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let mut instances = Instances::Unlimited;
    let mut endpoint = match cfg!(windows) {
        true => Endpoint::pipe(r"\\.\pipe\mynamedpipe")?,
        false => Endpoint::name("mynamedpipe")?,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--instances" => match arguments.next().as_deref() {
                Some("unlimited") => instances = Instances::Unlimited,
                Some(count) => instances = Instances::Fixed(count.parse()?),
                None => return Err("--instances 4, or unlimited".into()),
            },
            place if cfg!(windows) => endpoint = Endpoint::pipe(place)?,
            place => endpoint = Endpoint::path(place)?,
        }
    }

    let framing = OsMessage::new(64 * 1024);
    let options = ServerOptions::new().instances(instances).framing(framing);
    let mut server = options.bind_messages(&endpoint)?;
    println!("listening at {}", server.endpoint());

    let answer: Vec<u8> = ANSWER.encode_utf16().flat_map(u16::to_le_bytes).collect();
    while let Some(event) = server.poll(None)? {
        if let Event::Message(client, request) = event {
            println!("{client}: {}", text(&request));
            // Refused if the client has disconnected or does not read; the answer is then dropped.
            let _ = server.send(client, answer.clone().into());
        }
    }
    Ok(())
}

fn text(request: &[u8]) -> String {
    let units = request.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    let units: Vec<u16> = units.take_while(|&unit| unit != 0).collect();
    String::from_utf16_lossy(&units)
}
