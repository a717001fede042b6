//! Servers that a signal stops: with what is in flight answered, and the name free.

use crate::common::roles::{READY, start};
use crate::common::serving::limits;
use crate::common::unique_name;
use msgpipe::{Client, Interrupt, Server};
use rustix::process::{Pid, Signal, kill_process};
use std::thread;

/// Serves until a signal comes. What it holds then is answered.
pub fn serve(name: &str) {
    let server = Server::bind_with(name, limits()).unwrap();
    let stopper = server.stopper();
    ctrlc::set_handler(move || stopper.stop()).unwrap();
    println!("{READY}");
    let served = server.serve_deferred(|request, responder| match &request.body()[..] {
        b"held" => {
            let (give, given) = std::sync::mpsc::channel();
            responder.on_interrupt(move |why| give.send(why).unwrap());
            thread::spawn(move || {
                assert_eq!(given.recv(), Ok(Interrupt::Stopping));
                responder.reply("answered at the stop");
            });
        }
        _ => responder.reply("hello"),
    });
    served.unwrap();
}

#[test]
fn what_is_in_flight_is_answered_and_the_name_is_free() {
    for signal in [Signal::INT, Signal::TERM] {
        let name = unique_name();
        let mut server = start("server that a signal stops", &name);
        let client = Client::connect_with(name.as_str(), limits()).unwrap();
        let held = client.start("held").unwrap();
        assert_eq!(client.call("").unwrap(), "hello");
        kill_process(Pid::from_child(&server), signal).unwrap();
        assert_eq!(held.wait().unwrap(), "answered at the stop");
        assert!(server.wait().unwrap().success(), "{signal:?}");
        drop(Server::bind(name.as_str()).unwrap());
    }
}
