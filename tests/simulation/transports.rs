//! Transports of tests around the one of the simulation.

use crate::passing::{Between, Passing};
use msgpipe::memory::{MemoryServer, Simulation, World};
use msgpipe::tokio::{Client, Tasks};
use msgpipe::{Error, Limits, Server};
use std::task::Waker;

/// Whether it has tasks woken.
struct Watches(bool);

impl Between<MemoryServer> for Watches {
    fn watch(&self, server: &MemoryServer, task: &Waker) -> bool {
        self.0 && msgpipe::MessageServer::watch(server, task)
    }
}

fn server(world: &World, watches: bool) -> Server<Passing<MemoryServer, Watches>> {
    let server = world.listen("echo", Limits::default()).unwrap();
    Server::over(Passing { server, between: Watches(watches) }, Limits::default())
}

#[test]
fn a_transport_that_passes_everything_on_serves() {
    for in_tasks in [false, true] {
        let program = move |world: World| async move {
            let (server, echo) = (server(&world, true), |request: msgpipe::Request| request.body());
            match in_tasks {
                true => drop(
                    world
                        .spawn(server.serve_tasks(Tasks::new(), move |it| async move { echo(it) })),
                ),
                false => drop(world.spawn(world.serve(server, echo))),
            }
            Client::connect("echo").await?.call("hello").await
        };
        let ended = Simulation::new(1).run(program).unwrap();
        assert_eq!(ended.value.unwrap(), "hello");
    }
}

/// It would wait for ever otherwise, and nobody would know for what.
#[test]
fn a_transport_that_has_no_task_woken_ends_with_an_error_that_says_so() {
    for in_tasks in [false, true] {
        let program = move |world: World| async move {
            let (server, echo) =
                (server(&world, false), |request: msgpipe::Request| request.body());
            match in_tasks {
                true => server.serve_tasks(Tasks::new(), move |it| async move { echo(it) }).await,
                false => world.serve(server, echo).await,
            }
        };
        let error = Simulation::new(1).run(program).unwrap().value.unwrap_err();
        assert!(matches!(error, Error::System { .. }), "{error:?}");
        let said = error.to_string();
        assert!(said.contains("echo") && said.contains("pass `watch` on"), "{said}");
    }
}
