//! The in-memory transport for the tasks of a simulation.

use super::MemoryStream;
use super::client::this_process;
use super::control::Control;
use super::hub::Hub;
use super::server::MemoryServer;
use super::wire::{End, Exchange, Faults};
use crate::peer::Peer;
use crate::simulation::{self, Mishap, Network, SimulatedStream, World, disturb, happens};
use crate::sync::atomic::Ordering::Relaxed;
use crate::{Error, Limits};
use bytes::BytesMut;
use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Which task of a client waits.
const READS: usize = 0;
const WRITES: usize = 1;

/// The pieces of a connection with small pieces, and its buffers, have at most so many bytes.
const PIECE_MAX: u64 = 64;
const BUFFER_MAX: u64 = 4096;

impl Exchange {
    /// Has the server's task woken when there are events.
    pub(super) fn watch(&self, task: &Waker) {
        self.has_tasks.store(true, Relaxed);
        let mut state = self.lock();
        let before = state.task.replace(task.clone());
        drop(state);
        drop(before);
        self.wake_tasks();
    }

    /// Wakes the tasks that need not wait any more. Returns whether that are all who wait: in a simulation no thread does.
    pub(super) fn wake_tasks(&self) -> bool {
        // A task that is added meanwhile looks itself for what it waits for.
        if !self.has_tasks.load(Relaxed) {
            return self.is_simulated;
        }
        let (mut ready, mut state) = (Vec::new(), self.lock());
        if state.woken || !state.touched.is_empty() || !state.backlog.is_empty() {
            ready.extend(state.task.take());
        }
        for wire in state.wires.values_mut() {
            let is_ready = [wire.is_readable(End::Client), wire.is_writable(End::Client)];
            let tasks = wire.tasks.iter_mut().zip(is_ready).filter(|(_, is_ready)| *is_ready);
            ready.extend(tasks.filter_map(|(task, _)| task.take()));
        }
        drop(state);
        // Not under the lock: wakers are code of somebody else.
        ready.into_iter().for_each(Waker::wake);
        self.is_simulated
    }
}

/// The servers and connections of a simulation.
#[derive(Default)]
struct Simulated {
    hub: Hub,
    /// Those that may be open, with the names of their servers.
    connections: RefCell<Vec<(String, Control)>>,
}

thread_local! {
    // Clippy for Windows does not see the `const` (rust-clippy 1.96).
    #[allow(clippy::missing_const_for_thread_local)]
    static HERE: RefCell<std::rc::Weak<Simulated>> = const { RefCell::new(std::rc::Weak::new()) };
}

/// That of this thread's simulation, which keeps it.
fn here() -> Rc<Simulated> {
    let known = HERE.with(|here| here.borrow().upgrade());
    known.unwrap_or_else(|| {
        let new = Rc::new(Simulated::default());
        simulation::join_network(new.clone());
        HERE.with(|here| *here.borrow_mut() = Rc::downgrade(&new));
        new
    })
}

impl Network for Simulated {
    fn connect(&self, endpoint: &str) -> Result<(Box<dyn SimulatedStream>, Peer), Error> {
        if happens(|disturbances| disturbances.refusals) {
            return Err(Error::busy(&endpoint.into(), Duration::ZERO));
        }
        let mut faults = Faults::default();
        if happens(|disturbances| disturbances.pieces) {
            let random = |most| simulation::random().unwrap_or(0) % most + 1;
            (faults.chunk, faults.capacity) =
                (random(PIECE_MAX) as usize, random(BUFFER_MAX) as usize);
        }
        let stream = self.hub.connect_with(endpoint, faults)?;
        let mut connections = self.connections.borrow_mut();
        connections.retain(|(_, control)| !control.has_ended());
        connections.push((endpoint.to_owned(), stream.control()));
        Ok((Box::new(stream), this_process().clone()))
    }
}

impl World {
    /// A server of messages at `name` for [`Server::over`](crate::Server::over), to which the simulation's clients connect
    /// by this name.
    ///
    /// # Errors
    /// [`Error::AlreadyServed`] if a server at that name accepts clients.
    pub fn listen(&self, name: &str, limits: Limits) -> Result<MemoryServer, Error> {
        here().hub.listen_for_calls(name, limits)
    }

    /// The connections to the server at `name` that may be open, the oldest first: to stall or to reset them.
    ///
    /// ```
    /// use msgpipe::{Limits, memory::Simulation, tokio::Client};
    ///
    /// let program = |world: msgpipe::memory::World| async move {
    ///     let server = world.server("echo", Limits::default())?;
    ///     world.spawn(world.serve(server, |request| request.body()));
    ///     let client = Client::connect("echo").await?;
    ///     world.connections("echo").iter().for_each(|connection| connection.reset());
    ///     assert!(client.call("hello").await.is_err());
    ///     Ok::<_, msgpipe::Error>(())
    /// };
    /// Simulation::new(1).run(program).unwrap().value?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn connections(&self, name: &str) -> Vec<Control> {
        let here = here();
        let connections = here.connections.borrow();
        let of_name = connections.iter().filter(|(of, control)| of == name && !control.has_ended());
        of_name.map(|(_, control)| control.clone()).collect()
    }
}

impl MemoryStream {
    /// Reads without waiting.
    fn read_now(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        self.at_wire(|wire| wire.read(End::Client, buffer))
    }

    /// Has a task woken when it can go on.
    fn watch(&self, which: usize, task: &Waker) {
        self.exchange.has_tasks.store(true, Relaxed);
        let mut state = self.exchange.lock();
        let before = match self.wire(&mut state) {
            Ok(wire) => wire.tasks[which].replace(task.clone()),
            Err(_) => None,
        };
        drop(state);
        drop(before);
        self.exchange.wake_tasks();
    }

    /// Something may go wrong.
    fn disturb(&self) {
        let control = self.control();
        match disturb() {
            None => {}
            Some(Mishap::Reset) => control.reset(),
            Some(Mishap::Stall(time)) => {
                control.stall();
                let world = World::here();
                simulation::spawn(async move {
                    world.pass(time).await;
                    control.resume();
                });
            }
        }
    }

    /// Does what can be done at once, or has the task woken when it can be.
    fn poll_at_wire(
        &mut self,
        context: &Context<'_>,
        which: usize,
        act: impl FnOnce(&MemoryStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.disturb();
        let done = act(self);
        if done.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            self.watch(which, context.waker());
            return Poll::Pending;
        }
        simulation::note(done.as_ref().map_or(u64::MAX, |moved| *moved as u64));
        Poll::Ready(done)
    }
}

impl SimulatedStream for MemoryStream {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        self.poll_at_wire(context, READS, |stream| stream.read_now(buffer))
    }

    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_at_wire(context, WRITES, |stream| {
            crate::client_stream::ClientStream::write(stream, slices)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::Wire;
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Woken>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// Each read and write on threads tells of itself; with many connections it would look at all of them each time.
    #[test]
    fn no_tasks_are_looked_for_where_none_has_waited() {
        let (exchange, woken) = (Exchange::new(), Arc::new(Woken::default()));
        let mut wire = Wire::new(Faults::default());
        wire.tasks[WRITES] = Some(woken.clone().into());
        exchange.lock().wires.insert(1, wire);
        exchange.notify();
        assert_eq!(woken.0.load(Relaxed), 0, "it was found");
        exchange.watch(&woken.clone().into());
        assert_eq!(woken.0.load(Relaxed), 1);
    }
}
