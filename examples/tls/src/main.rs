//! A server and two clients, one of them a stranger, over TLS on 127.0.0.1.
//!
//! ```text
//! cargo run -p tls
//! ```
#![forbid(unsafe_code)]

use std::net::TcpListener;
use std::thread;
use tls::certificates::{Authority, Failure, SERVER};

fn main() -> Result<(), Failure> {
    let authority = Authority::new()?;
    let config = authority.server(authority.issue(SERVER)?)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        tls::serve(&listener, &config, |name, request, responder| {
            let said = String::from_utf8_lossy(&request.body()).into_owned();
            responder.reply(format!("{name} has said {said:?}"));
        })
    });

    let client = tls::connect(address, authority.client(authority.issue("anna.example")?)?)?;
    println!("{}", String::from_utf8_lossy(&client.call("hello")?));

    // TLS 1.3: the server checks the client's certificate after the client's side of the handshake is over.
    let stranger = Authority::new()?.issue("anna.example")?;
    let refused = tls::connect(address, authority.client(stranger)?)
        .and_then(|client| Ok(client.call("hello")?));
    match refused {
        Err(error) => println!("a stranger: {error}"),
        Ok(reply) => return Err(format!("a stranger got {reply:?}").into()),
    }
    Ok(())
}
