//! The transport of the server under test: in memory, and whenever nothing is left to be done, something that the script
//! says happens. So the server and all its clients run on one thread, and nothing waits.

use super::passing::{Between, Passing};
use msgpipe::memory::MemoryServer;
use msgpipe::{Error, Event, MessageServer};
use std::time::{Duration, Instant};

/// The most events between two steps of a script. More would be a loop that does not end: a step writes at most some
/// hundred thousand bytes, of which nothing takes an event for each.
const EVENTS_MAX: usize = 20_000;

/// What happens when the server has nothing to do.
pub trait World {
    /// Lets something happen.
    fn happens(&mut self);
}

/// See the [module](self).
pub type Served<W> = Passing<MemoryServer, Scripted<W>>;

/// A world, and the events since its last step.
pub struct Scripted<W> {
    world: W,
    events: usize,
}

/// A server in this world.
pub fn served<W: World>(server: MemoryServer, world: W) -> Served<W> {
    Passing { server, between: Scripted { world, events: 0 } }
}

/// The next event; `None` once nothing is left to be done. A poll that does not wait also returns `None` while there is more,
/// after a millisecond.
fn poll_all(server: &mut MemoryServer) -> Result<Option<Event>, Error> {
    loop {
        let began = Instant::now();
        let event = server.poll(Some(Duration::ZERO))?;
        if event.is_some() || began.elapsed() < Duration::from_millis(1) {
            return Ok(event);
        }
    }
}

impl<W: World> Between<MemoryServer> for Scripted<W> {
    fn poll(
        &mut self,
        server: &mut MemoryServer,
        _: Option<Duration>,
    ) -> Result<Option<Event>, Error> {
        let event = poll_all(server)?;
        match event {
            Some(_) => {
                self.events += 1;
                assert!(self.events < EVENTS_MAX, "the server finds something to do for ever");
            }
            None => {
                self.events = 0;
                self.world.happens();
            }
        }
        Ok(event)
    }
}
