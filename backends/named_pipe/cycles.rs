//! Clients that connect and close leak no handle, on either side. (Their memory is measured on every
//! system, in `tests/cycles.rs`.) On Wine a client takes a millisecond or two, so the runs with whole
//! messages have fewer clients there.

use super::handle::check;
use super::pipe_options::on_wine;
use crate::framing::{Framing, Layer, Native, OsMessage};
use crate::message_server::{Event, MessageServer};
use crate::{ClientOptions, Instances, ServerOptions};
use std::fs::OpenOptions;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetProcessHandleCount};

/// Set in a process that runs only this test: other tests would open handles meanwhile.
const ALONE: &str = "MSGPIPE_TEST_ALONE";

/// After so many clients everything that is kept exists: threads of the system, buffers.
const WARM_UP: usize = 1000;

const PATIENCE: Duration = Duration::from_secs(60);

fn handles() -> u32 {
    let mut count = 0;
    // SAFETY: the pseudo handle is always valid, and `count` outlives the call.
    check(unsafe { GetProcessHandleCount(GetCurrentProcess(), &mut count) }).unwrap();
    count
}

/// Connects and closes clients, one after the other; every twentieth client is this crate's, sends a message
/// and receives it back.
fn connect_and_close(framing: &Arc<dyn Framing>, instances: Instances, clients: usize) {
    let name = format!("msgpipe.cycles.{}", std::process::id());
    let options = ServerOptions::new().framing(framing.clone()).instances(instances);
    let mut server = options.bind_messages(name.as_str()).unwrap();
    let options = ClientOptions::new().framing(framing.clone());
    let mut before = 0;
    for number in 0..clients {
        if number == WARM_UP {
            before = handles();
        }
        let mut client = None;
        if number % 20 == 0 {
            let ours = client.insert(options.connect_messages(name.as_str()).unwrap());
            ours.send("hello").unwrap();
        } else {
            drop(OpenOptions::new().read(true).write(true).open(server.endpoint()).unwrap());
        }
        loop {
            match server.poll(Some(PATIENCE)).unwrap().expect("no event came") {
                Event::Message(id, message) => {
                    server.send(id, message).unwrap();
                    assert!(server.poll(Some(Duration::ZERO)).unwrap().is_none());
                    let answer = client.take().unwrap().receive(Some(PATIENCE)).unwrap();
                    assert_eq!(answer, "hello");
                }
                Event::Closed(..) => break,
                _ => {}
            }
        }
    }
    let after = handles();
    // A client costs several handles: a leak of one handle by one in a hundred clients would show.
    assert!(after < before + 10, "{clients} clients have made {after} handles of {before}");
    println!("{clients} clients have closed");
}

#[test]
fn ten_thousand_clients_leak_no_handle() {
    if std::env::var_os(ALONE).is_none() {
        let (_, path) = module_path!().split_once("::").unwrap();
        let test = format!("{path}::ten_thousand_clients_leak_no_handle");
        let mut command = Command::new(std::env::current_exe().unwrap());
        let command = command.args(["--exact", &test, "--nocapture"]).env(ALONE, "");
        let output = command.output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            (output.status.code(), printed.matches("have closed").count()),
            (Some(0), 3),
            "{output:?}"
        );
        return;
    }
    let native: Arc<dyn Framing> = Arc::new(Native::new(Layer::Messages, 4096));
    let whole: Arc<dyn Framing> = Arc::new(OsMessage::new(4096));
    connect_and_close(&native, Instances::Unlimited, 10_000);
    let fewer = if on_wine() { 2000 } else { 10_000 };
    connect_and_close(&whole, Instances::Fixed(1), fewer);
    connect_and_close(&whole, Instances::Unlimited, fewer);
}
