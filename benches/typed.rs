//! A typed call of 64 bytes beside an untyped one, in one run: `cargo bench --features typed --bench typed`. The arguments and the
//! reply are of some 64 bytes on the wire in MessagePack; the untyped call has a body and a reply of 64. Each ratio is of the medians of
//! rounds that alternate; the target is 1.10.

use msgpipe::typed::{self, Codec, Service};
use msgpipe::{Client, Server, Stopper, Workers};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

#[typed::service]
trait Echo {
    fn echo(&self, text: String) -> String;
}

struct Echoing;

impl Echo for Echoing {
    fn echo(&self, text: String) -> String {
        text
    }
}

const ROUNDS: usize = 21;
const CALLS: usize = 2_000;

fn main() {
    let text = "x".repeat(56);
    let body = vec![7; 64];
    for (name, on_workers) in [("in the server's loop", false), ("on workers", true)] {
        let (untyped, typed) = (serve(false, on_workers), serve(true, on_workers));
        let client = EchoClient::new(typed.client.clone());
        let json = client.with_codec(Codec::Json);
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            // In turn: what else the machine does meets all of them.
            times[0].push(timed(|| drop(untyped.client.call(&body).unwrap())));
            times[1].push(timed(|| drop(client.echo(text.clone()).unwrap())));
            times[2].push(timed(|| drop(json.echo(text.clone()).unwrap())));
        }
        let [plain, message_pack, json] = times.map(|mut all| {
            all.sort();
            all[ROUNDS / 2]
        });
        let ratio = |time: Duration| time.as_secs_f64() / plain.as_secs_f64();
        println!("{name}: untyped {plain:?} a call");
        println!("  typed, MessagePack  {:.2}  (target: at most 1.10)", ratio(message_pack));
        println!("  typed, JSON         {:.2}", ratio(json));
        untyped.stop();
        typed.stop();
    }
}

struct Serving {
    client: Client,
    stopper: Stopper,
    thread: JoinHandle<()>,
}

fn serve(is_typed: bool, on_workers: bool) -> Serving {
    let name = format!("msgpipe.bench.typed.{}.{is_typed}.{on_workers}", std::process::id());
    let server = Server::bind(name.as_str()).unwrap();
    let stopper = server.stopper();
    let service = EchoServer::new(Echoing);
    let thread = thread::spawn(move || {
        match (is_typed, on_workers) {
            (false, false) => {
                server.serve_deferred(|request, responder| responder.reply(request.into_body()))
            }
            (false, true) => server.serve_workers(Workers::new(), |request| request.into_body()),
            (true, false) => {
                server.serve_deferred(|request, responder| service.handle(request, responder))
            }
            (true, true) => server.serve_typed(Workers::new(), service),
        }
        .unwrap();
    });
    Serving { client: Client::connect(name.as_str()).unwrap(), stopper, thread }
}

impl Serving {
    fn stop(self) {
        self.stopper.stop();
        self.thread.join().unwrap();
    }
}

/// The time of one call, of many.
fn timed(mut call: impl FnMut()) -> Duration {
    let began = Instant::now();
    (0..CALLS).for_each(|_| call());
    began.elapsed() / CALLS as u32
}
