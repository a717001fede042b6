//! Servers and clients of other programs: whole messages in their framing, without calls.

use crate::args::{Common, FramingName};
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::target;
use msgpipe::bytes::Bytes;
use msgpipe::{Error, Event, MessageServer};
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sends one message, and returns the next one that comes.
pub fn call(
    common: &Common,
    name: &str,
    framing: FramingName,
    body: Vec<u8>,
) -> Result<Bytes, Exit> {
    let client = target::message_client(common, name, framing)?;
    client.send(body)?;
    Ok(client.receive(Some(common.timeout))?)
}

/// Passes on what a server sends, until it closes, which is the normal end of a connection without goodbyes, or until `take` says that it is enough.
pub fn listen(
    common: &Common,
    name: &str,
    framing: FramingName,
    mut take: impl FnMut(Bytes) -> Result<bool, Exit>,
) -> Result<(), Exit> {
    let client = target::message_client(common, name, framing)?;
    loop {
        match client.receive(None) {
            Ok(message) => {
                if !take(message)? {
                    return Ok(());
                }
            }
            Err(Error::Closed { reason: msgpipe::CloseReason::PeerClosed, .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends each message back, until it is stopped.
pub fn echo(common: &Common, name: &str, framing: FramingName) -> Result<(), Exit> {
    let interrupt = Interrupt::install()?;
    let mut server = target::message_server(common, name, framing)?;
    let stops = Arc::new(AtomicBool::new(false));
    let (waker, stop) = (server.waker(), stops.clone());
    let stop = move || {
        stop.store(true, Ordering::SeqCst);
        waker.wake();
    };
    interrupt.stops(stop.clone());
    crate::serve::announce(server.endpoint(), stop)?;
    while !stops.load(Ordering::SeqCst) {
        match server.poll(None)? {
            // A client that does not read, or has gone, gets no reply.
            Some(Event::Message(client, message)) => drop(server.send(client, message)),
            Some(Event::AcceptFailed(error)) => drop(writeln!(io::stderr(), "msgpipe: {error}")),
            _ => {}
        }
    }
    Ok(())
}
