//! Calls over TLS: what they keep, and who is refused.
#![forbid(unsafe_code)]

use msgpipe::{Client, Request, Responder};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};
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
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = std::io::Read::read_to_end(&mut plain, &mut answer);
    assert!(answer.len() < 100, "an alert at most");
    // The others are served.
    assert_eq!(net.connect("bert.example").unwrap().call("who").unwrap(), "bert.example");
}

/// More strangers than there are places, each of which sends a byte of a long first message now and then.
#[test]
fn strangers_who_trickle_have_their_places_for_a_time() {
    let net = Net::new();
    let mut strangers: Vec<TcpStream> =
        (0..70).map(|_| TcpStream::connect(net.address).unwrap()).collect();
    let (stop, stopped) = channel::<()>();
    let trickling = thread::spawn(move || {
        // A record of 16 KiB with the beginning of a ClientHello.
        let first = [22, 3, 1, 0x40, 0, 1, 0, 0x3F, 0xFC, 3, 3];
        for byte in first.into_iter().chain(std::iter::repeat(7)) {
            // Those that were refused are gone.
            strangers.retain_mut(|it| it.write_all(&[byte]).is_ok());
            if stopped.recv_timeout(Duration::from_millis(500)) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    });
    let until = Instant::now() + PATIENCE;
    let client = loop {
        match net.connect("anna.example") {
            Ok(client) => break client,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
    };
    assert_eq!(client.call("who").unwrap(), "anna.example");
    drop(stop);
    trickling.join().unwrap();
}

/// Runs this test alone in a process that may have few descriptors, and takes all of them.
#[cfg(target_os = "linux")]
#[test]
fn a_server_without_descriptors_goes_on_when_it_has_some() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    const NAME: &str = "a_server_without_descriptors_goes_on_when_it_has_some";
    if std::env::var_os("TLS_FEW_DESCRIPTORS").is_some() {
        return with_few_descriptors();
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 64 && exec \"$0\" --exact \"$1\" --nocapture"]);
    shell.arg(std::env::current_exe().unwrap()).arg(NAME).env("TLS_FEW_DESCRIPTORS", "1");
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = shell.spawn().unwrap();
    let mut input = child.stdin.take();
    let mut said = Vec::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        said.push(line.unwrap());
        if said.last().unwrap().contains("a client was not accepted: Too many open files") {
            input = None; // tells the child to go on
        }
    }
    assert!(child.wait().unwrap().success(), "{said:?}");
    assert!(input.is_none(), "{said:?}");
}

#[cfg(target_os = "linux")]
fn with_few_descriptors() {
    let (tell, told) = channel();
    thread::spawn(move || tell.send(std::io::stdin().lines().count()));
    let net = Net::new();
    assert_eq!(net.connect("anna.example").unwrap().call("who").unwrap(), "anna.example");
    let mut strangers = Vec::new();
    while let Ok(stranger) = TcpStream::connect(net.address) {
        strangers.push(stranger);
    }
    // The server finds none either, and says so.
    let _ = told.recv_timeout(PATIENCE);
    drop(strangers);
    let until = Instant::now() + PATIENCE;
    while let Err(error) = net.connect("bert.example").and_then(|it| Ok(it.call("who")?)) {
        assert!(Instant::now() < until, "{error}");
    }
}
