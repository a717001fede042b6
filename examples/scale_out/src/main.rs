//! One handler, served on one machine, over TLS, or as one of many instances behind a NATS engine.
//!
//! ```text
//! cd examples/scale_out
//! cargo run -- --local com.example.scale                     # one machine
//! cargo run -- --tls 127.0.0.1:7000                          # one other machine
//! cargo run -- --nats nats://127.0.0.1:4222                  # many: start it as often as you like
//! cargo run -- --bridge com.example.scale --to-nats URL      # local clients, instances behind NATS
//! cargo run -- --bridge com.example.scale --to-tls ADDRESS   # local clients, a server over TLS
//! cargo run -- --call com.example.scale hello                # a local client: it does not know which
//! cargo run -- --call-nats URL hello
//! cargo run --release -- --time com.example.scale            # the mean of 10,000 calls, one after another
//! cargo run --release -- --time-nats URL
//! ```
//!
//! A server says `ready` when it serves. With TLS both sides read the key of their authority from the file
//! `scale_out.key`, which the first one makes. Real ones have certificates, and keep the key elsewhere.
#![forbid(unsafe_code)]

use msgpipe::tokio::{Client, Tasks};
use msgpipe::{Failure, Request, Server, Workers};
use msgpipe_nats::{Gateway, GatewayOptions, NatsClient};
use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::thread;
use std::time::Instant;
use tls::certificates::{Authority, SERVER};

type Outcome = Result<(), tls::certificates::Failure>;

/// The service's name in the engine.
const SERVICE: &str = "scale_out";
/// The calls that `--time` makes.
const TIMED: u32 = 10_000;

/// The handler: the same wherever it is served.
fn handle(body: &[u8]) -> Result<Vec<u8>, Failure> {
    let text = std::str::from_utf8(body)?;
    Ok(text.to_uppercase().into_bytes())
}

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--local", name] => local(name),
        ["--tls", address] => over_tls(address),
        ["--nats", url] => run(nats(url)),
        ["--bridge", name, "--to-nats", url] => run(bridge_to_nats(name, url)),
        ["--bridge", name, "--to-tls", address] => bridge_to_tls(name, address),
        ["--call", name, text] => print(&msgpipe::Client::connect(name)?.call(text)?),
        ["--call-nats", url, text] => {
            run(async { print(&NatsClient::connect(url, SERVICE).await?.call(text).await?) })
        }
        ["--time", name] => run(async {
            let client = Client::connect(name).await?;
            let began = Instant::now();
            for _ in 0..TIMED {
                client.call("hello").await?;
            }
            print(format!("{:?}", began.elapsed() / TIMED).as_bytes())
        }),
        ["--time-nats", url] => run(async {
            let client = NatsClient::connect(url, SERVICE).await?;
            let began = Instant::now();
            for _ in 0..TIMED {
                client.call("hello").await?;
            }
            print(format!("{:?}", began.elapsed() / TIMED).as_bytes())
        }),
        _ => Err("the first lines of src/main.rs say how to call it".into()),
    }
}

fn print(reply: &[u8]) -> Outcome {
    println!("{}", String::from_utf8_lossy(reply));
    Ok(())
}

fn run(work: impl Future<Output = Outcome>) -> Outcome {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

fn local(name: &str) -> Outcome {
    let server = Server::bind(name)?;
    println!("ready");
    Ok(server.serve(|request| handle(&request.body()))?)
}

fn over_tls(address: &str) -> Outcome {
    let authority = authority()?;
    let config = authority.server(authority.issue(SERVER)?)?;
    let listener = TcpListener::bind(address)?;
    println!("ready at {}", listener.local_addr()?);
    tls::serve(&listener, &config, |_, request, responder| {
        responder.reply(handle(&request.body()));
    })
}

async fn nats(url: &str) -> Outcome {
    let name = format!("msgpipe.example.scale_out.{}", std::process::id());
    let server = Server::bind(&*name)?;
    let serving = thread::spawn(move || server.serve(|request| handle(&request.body())));
    let client = Client::connect(&*name).await?;
    let gateway = Gateway::start(url, SERVICE, client, GatewayOptions::new()).await?;
    println!("ready as {}", gateway.id());
    gateway.ended().await;
    Ok(serving.join().map_err(|_| "the server panicked")??)
}

async fn bridge_to_nats(name: &str, url: &str) -> Outcome {
    let nats = NatsClient::connect(url, SERVICE).await?;
    let bridge = Server::bind(name)?;
    println!("ready");
    let forward = |request: Request| {
        let nats = nats.clone();
        async move { nats.forward(request).await }
    };
    Ok(bridge.serve_tasks(Tasks::new().drop_cancelled(), forward).await?)
}

fn bridge_to_tls(name: &str, address: &str) -> Outcome {
    let authority = authority()?;
    let client = tls::connect(address, authority.client(authority.issue("bridge.example")?)?)?;
    let bridge = Server::bind(name)?;
    println!("ready");
    // The calls of a worker have what is left of the request's time.
    let forward = move |request: Request| -> Result<_, Failure> {
        let to = client.with_method(request.method()).with_metadata(request.metadata());
        Ok(to.call(request.into_body())?)
    };
    Ok(bridge.serve_workers(Workers::new(), forward)?)
}

fn authority() -> Result<Authority, tls::certificates::Failure> {
    const FILE: &str = "scale_out.key";
    match fs::read_to_string(FILE) {
        Ok(key) => Authority::of_key(&key),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let authority = Authority::new()?;
            fs::write(FILE, authority.key())?;
            Ok(authority)
        }
        Err(error) => Err(error.into()),
    }
}
