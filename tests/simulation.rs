//! Programs of servers and clients in a simulation.
use msgpipe::memory::{Simulation, World};
use msgpipe::{Limits, tokio::Client};

#[test]
fn smoke() {
    for seed in 0..50 {
        let program = |world: World| async move {
            let server = world.server("echo", Limits::default()).unwrap();
            world.spawn(world.serve(server, |request| request.body()));
            let client = Client::connect("echo").await.unwrap();
            assert_eq!(client.call("hello").await.unwrap(), "hello");
        };
        let ended = Simulation::new(seed).pieces(5000).run(program).unwrap();
        println!("{ended:?}");
        let again = Simulation::new(seed).pieces(5000).run(program).unwrap();
        assert_eq!(ended, again);
    }
}
