//! `msgpipe listen`.

use crate::args::{Common, Listen};
use crate::exit::Exit;
use crate::{foreign, output, target};
use msgpipe::{Error, ServerMessage};

pub fn run(common: &Common, args: &Listen) -> Result<(), Exit> {
    let mut left = args.count.unwrap_or(u64::MAX);
    if left == 0 {
        return Ok(());
    }
    // A server may be silent for long.
    output::when_closed(output::exit);
    let mut print = |body: &[u8]| {
        output::message(body, true, args.raw)?;
        left -= 1;
        Ok(left > 0)
    };
    if let Some(framing) = common.framing {
        return foreign::listen(common, &args.name, framing, |message| print(&message));
    }
    let client = target::client(common, &args.name)?;
    let mut incoming = match client.incoming() {
        Ok(incoming) => incoming,
        Err(error) => return target::ended(error),
    };
    loop {
        let message = match incoming.next_within(common.timeout) {
            // It is silent; that may go on.
            Err(Error::Deadline { .. }) => continue,
            Err(error) => return target::ended(error),
            Ok(message) => message,
        };
        // A call of the server is refused by its drop: this is no application.
        let body = match &message {
            ServerMessage::Notification(notification) => notification.body(),
            ServerMessage::Request(request) => request.body(),
            _ => continue,
        };
        if !print(&body)? {
            return Ok(());
        }
    }
}
