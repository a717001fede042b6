//! The name of a server that has ended is free, however busy the machine is.

use crate::common::serving::limits;
use crate::common::{on_wine, unique_name};
use msgpipe::{Client, Endpoint, Error, Server};
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

/// A server's name is among those of its user while it listens, and not after it has ended.
#[test]
fn the_names_of_a_users_servers_can_be_listed() {
    let names: Vec<String> = (0..3).map(|_| unique_name()).collect();
    let servers: Vec<Server> =
        names.iter().map(|name| Server::bind_with(name.as_str(), limits()).unwrap()).collect();
    if on_wine() {
        // It has no list of pipes. What is made of one is tested beside the code, in `backends/named_pipe`.
        println!("skipped: what the system lists");
        let error = Endpoint::names().unwrap_err();
        assert!(matches!(error, Error::System { .. }), "{error}");
        return;
    }
    let listed = Endpoint::names().unwrap();
    assert!(listed.is_sorted(), "{listed:?}");
    assert!(names.iter().all(|name| listed.contains(name)), "{names:?} in {listed:?}");
    drop(servers);
    let listed = Endpoint::names().unwrap();
    assert!(!names.iter().any(|name| listed.contains(name)), "{names:?} in {listed:?}");
}
