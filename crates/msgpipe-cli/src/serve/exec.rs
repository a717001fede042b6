//! A command for each request.

#[cfg(unix)]
use super::polled::{Printed, Running, prepare};
#[cfg(not(unix))]
use super::threads::{Printed, Running, prepare};
use msgpipe::{ErrorReply, Interrupt, Request, Responder};
use std::ffi::{OsStr, OsString};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The code of the error reply when the command fails.
const COMMAND_FAILED: u16 = 100;

/// How much of the command's standard error is in the error reply: its end.
pub const ERRORS_KEPT: usize = 2048;

/// How long after the command's own end its output is still read, if a process that it has started holds that open. Then
/// the reply is what has been written, and that process is killed where the system can.
pub const REST: Duration = Duration::from_secs(1);

/// The pauses between two looks whether it has ended, from the first to the longest.
pub const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// Runs the command, and replies with what it prints. It is killed when nobody waits for the reply any more.
pub fn run(
    program: &OsStr,
    arguments: &[OsString],
    request: Request,
    responder: Responder,
    limit: usize,
) {
    let mut command = Command::new(program);
    command.args(arguments).env("MSGPIPE_METHOD", request.method().to_string());
    if let Some(pid) = request.peer().pid {
        command.env("MSGPIPE_PEER_PID", pid.to_string());
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    prepare(&mut command);
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let text = format!("starting {}: {error}", program.to_string_lossy());
            return responder.reply(Err::<Vec<u8>, _>(ErrorReply::new(COMMAND_FAILED, text)));
        }
    };
    let child = Running::new(child);
    let killed = child.clone();
    responder.on_interrupt(move |why| {
        // A server that stops still sends the reply, while it drains.
        if why != Interrupt::Stopping {
            killed.kill();
        }
    });
    let body = request.into_body();
    let printed = child.finish(&body, limit);
    let printed = printed.map_err(|error| failed(format!("running the command: {error}")));
    responder.reply(printed.and_then(reply));
}

/// The reply to what it has printed.
fn reply(printed: Printed) -> Result<Vec<u8>, ErrorReply> {
    // It was killed for that.
    let reply = printed.reply.map_err(|error| failed(format!("reading its output: {error}")))?;
    if !printed.status.success() {
        let errors = String::from_utf8_lossy(&printed.errors);
        let text = format!("the command ended ({}): {}", printed.status, errors.trim_end());
        return Err(failed(text));
    }
    Ok(reply)
}

fn failed(text: String) -> ErrorReply {
    ErrorReply::new(COMMAND_FAILED, text)
}
