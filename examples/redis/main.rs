//! A server for existing clients of RESP, the protocol of Redis: a few of its commands on
//! a map in memory, over the message layer with a custom framing.
//!
//! ```text
//! cargo run --release --example redis -- /tmp/resp/socket     # in a directory of your own
//! redis-cli -s /tmp/resp/socket set greeting hello
//! redis-benchmark -s /tmp/resp/socket -t get
//! ```
//!
//! A message is a whole command (`*2\r\n$3\r\nGET\r\n$8\r\ngreeting\r\n`); a reply is sent without a frame.
//! `scripts/compare-with-redis` measures it against redis-server.

mod resp;

use bytes::Bytes;
use msgpipe::{Endpoint, Event, MessageServer, ServerOptions};
use resp::{Resp, strings};
use std::collections::HashMap;

#[derive(Default)]
struct Store {
    values: HashMap<Bytes, Bytes>,
}

impl Store {
    fn answer(&mut self, command: &[u8]) -> Bytes {
        let mut words = [&b""[..]; 3];
        let mut count = 0;
        let read = strings(command, |string| {
            if let Some(word) = words.get_mut(count) {
                *word = string;
            }
            count += 1;
        });
        debug_assert!(matches!(read, Ok(Some(_))), "the framing gives whole commands");
        let is = |name: &str| words[0].eq_ignore_ascii_case(name.as_bytes());
        match count {
            1 if is("ping") => Bytes::from_static(b"+PONG\r\n"),
            2 if is("get") => self.values.get(words[1]).map_or(NIL, |value| bulk(value)),
            3 if is("set") => {
                let copy = Bytes::copy_from_slice;
                self.values.insert(copy(words[1]), copy(words[2]));
                Bytes::from_static(b"+OK\r\n")
            }
            _ => Bytes::from_static(b"-ERR a command that is not served here\r\n"),
        }
    }
}

const NIL: Bytes = Bytes::from_static(b"$-1\r\n");

fn bulk(value: &[u8]) -> Bytes {
    let mut reply = format!("${}\r\n", value.len()).into_bytes();
    reply.extend_from_slice(value);
    reply.extend_from_slice(b"\r\n");
    reply.into()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("redis PATH_OF_THE_SOCKET")?;
    let options = ServerOptions::new().framing(Resp { limit: 1 << 20 });
    let mut server = options.bind_messages(&Endpoint::path(path)?)?;
    println!("listening at {}", server.endpoint());
    let mut store = Store::default();
    while let Some(event) = server.poll(None)? {
        if let Event::Message(client, command) = event {
            let answer = store.answer(&command);
            // This fails only if the client has disconnected, or leaves a megabyte of replies unread.
            if server.send(client, answer).is_err() {
                server.abort(client);
            }
        }
    }
    Ok(())
}
