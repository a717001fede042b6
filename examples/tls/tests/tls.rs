//! Calls over TLS: what they keep, and who is refused.
#![forbid(unsafe_code)]

use msgpipe::{Client, Request, Responder};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;
use tls::certificates::{Authority, Failure, SERVER};

const PATIENCE: Duration = Duration::from_secs(60);

struct Net {
    authority: Authority,
    address: SocketAddr,
    /// What happens to calls that are held.
    told: Receiver<msgpipe::Interrupt>,
}

impl Net {
    fn new() -> Net {
        let authority = Authority::new().unwrap();
        let config = authority.server(authority.issue(SERVER).unwrap()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = channel();
        thread::spawn(move || {
            tls::serve(&listener, &config, move |name, request, responder| {
                let tell = tell.clone();
                handle(name, request, responder, move |why| {
                    let _ = tell.send(why);
                });
            })
        });
        Net { authority, address, told }
    }

    fn connect(&self, name: &str) -> Result<Client, Failure> {
        let identity = self.authority.issue(name)?;
        Ok(tls::connect(self.address, self.authority.client(identity)?)?.with_timeout(PATIENCE))
    }
}

fn handle(
    name: &str,
    request: Request,
    responder: Responder,
    tell: impl FnMut(msgpipe::Interrupt) + Send + 'static,
) {
    match &request.body()[..] {
        b"who" => responder.reply(name.to_owned()),
        b"parts" => {
            thread::spawn(move || {
                let mut parts = responder.into_parts();
                while parts.send(vec![7; 60_000]).is_ok() {}
            });
        }
        b"held" => {
            responder.on_interrupt(tell);
            thread::spawn(move || {
                while !responder.is_cancelled() {
                    thread::yield_now();
                }
            });
        }
        _ => responder.reply(request.into_body()),
    }
}

#[test]
fn calls_of_any_size_arrive_and_the_certificate_says_who_calls() {
    let net = Net::new();
    for name in ["anna.example", "bert.example"] {
        let client = net.connect(name).unwrap();
        assert_eq!(client.call("who").unwrap(), name);
        for size in [0, 1, 16 * 1024, 16 * 1024 + 1, 1 << 20, 8 << 20] {
            let body: Vec<u8> = (0..size).map(|at| at as u8).collect();
            assert!(client.call(body.clone()).unwrap() == body, "{size}");
        }
    }
}

/// Both directions are full at once: neither side may wait for the other.
#[test]
fn large_calls_in_both_directions_do_not_wait_for_each_other() {
    let net = Net::new();
    let client = net.connect("anna.example").unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..4 {
                    assert_eq!(client.call(vec![7; 4 << 20]).unwrap().len(), 4 << 20);
                }
            });
        }
    });
}

#[test]
fn streams_and_cancels_survive_the_move() {
    let net = Net::new();
    let client = net.connect("anna.example").unwrap();
    let mut parts = client.stream("parts").unwrap();
    for _ in 0..200 {
        assert_eq!(parts.next().unwrap().unwrap().len(), 60_000);
    }
    drop(parts);
    let held = client.start("held").unwrap();
    assert_eq!(client.call("hello").unwrap(), "hello");
    held.cancel();
    client.call("the cancel has arrived").unwrap();
    assert_eq!(net.told.recv_timeout(PATIENCE).unwrap(), msgpipe::Interrupt::Cancelled);
    let held = client.start("held").unwrap();
    client.call("it is held").unwrap();
    client.close();
    assert!(held.wait().is_err());
    assert_eq!(net.told.recv_timeout(PATIENCE).unwrap(), msgpipe::Interrupt::Closed);
}

#[test]
fn strangers_are_refused_on_both_sides() {
    let net = Net::new();
    let others = Authority::new().unwrap();
    // A client of another authority. With TLS 1.3 it learns it after its handshake.
    let config = net.authority.client(others.issue("anna.example").unwrap()).unwrap();
    let refused = tls::connect(net.address, config).and_then(|client| Ok(client.call("who")?));
    assert!(refused.is_err(), "{refused:?}");
    // A server of another authority: nothing is sent to it.
    let config = others.client(others.issue("anna.example").unwrap()).unwrap();
    let refused = tls::connect(net.address, config).map(drop).unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
    // Somebody who knows nothing of TLS.
    let mut plain = TcpStream::connect(net.address).unwrap();
    std::io::Write::write_all(&mut plain, b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = std::io::Read::read_to_end(&mut plain, &mut answer);
    assert!(answer.len() < 100, "an alert at most");
    // The others are served.
    assert_eq!(net.connect("bert.example").unwrap().call("who").unwrap(), "bert.example");
}
