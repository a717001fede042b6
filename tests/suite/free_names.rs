//! The name of a server that has ended is free, however busy the machine is.

use crate::common::serving::limits;
use crate::common::unique_name;
use msgpipe::{Client, Error, Server};
use std::thread;

const ROUNDS: usize = 15;

/// The threads that start and stop servers at once.
const THREADS: usize = 4;

#[test]
fn nobody_finds_a_server_after_its_end() {
    let round = || {
        let name = unique_name();
        let server = Server::bind_with(name.as_str(), limits()).unwrap();
        let stopper = server.stopper();
        let serving = thread::spawn(move || server.serve(|request| request.into_body()).unwrap());
        let client = Client::connect_with(name.as_str(), limits()).unwrap();
        assert_eq!(client.call("hello").unwrap(), "hello");
        stopper.stop();
        serving.join().unwrap();
        match Client::connect_with(name.as_str(), limits()) {
            Err(Error::NoServer { .. }) => {}
            Err(other) => panic!("{other}"),
            Ok(client) => panic!("connected to {}", client.endpoint()),
        }
        drop(Server::bind(name.as_str()).unwrap());
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..ROUNDS).for_each(|_| round()));
        }
    });
}
