//! A whole server that is fed by hostile clients, with a good one beside them.

use super::app::{ECHO, Shared};
use super::frames::{plain_settings, unary};
use super::hostile::{Hostile, Plain, limits};
use super::script::Script;
use super::served::{World, served};
use msgpipe::framing::{LengthPrefix, Native};
use msgpipe::memory::{Faults, Hub};
use msgpipe::{Counters, Server, ServerCounts, Stopper};
use std::cell::OnceCell;
use std::rc::Rc;

/// The hostile connections at a time, and the steps of a program.
const HOSTILE: usize = 4;
const STEPS: usize = 120;

/// How often a server with nothing to do is polled before its answer to the good client, or its end, is missed.
const PATIENCE: usize = 6;

/// What a read may return before memory is looked at, for each connection.
const READ: usize = 64 * 1024;

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Phase {
    Begins,
    Runs,
    /// The application answers everything.
    Finishes,
    /// The hostile clients have gone.
    Alone,
    /// All clients have gone.
    Empty,
    Stops,
}

/// Everything around the server.
struct Around<'a> {
    script: Script<'a>,
    phase: Phase,
    steps: usize,
    framing: Plain,
    hub: Hub,
    hostile: Vec<Hostile>,
    good: Good,
    app: Shared,
    /// Of the server, once it is made.
    handles: Rc<OnceCell<(Counters, Stopper)>>,
    is_stopped: bool,
    /// The most memory that may be held.
    memory: usize,
    /// Hostile clients may hold so much of it that others wait until they have gone.
    is_tight: bool,
    quiet: usize,
}

/// A client that keeps to the protocol.
struct Good {
    wire: Option<Hostile>,
    /// The id of its latest request.
    asked: u32,
    /// Those without a reply.
    open: Vec<u32>,
    waits: usize,
    /// Of the bodies of its requests.
    size: usize,
}

impl Good {
    fn asks(&mut self) {
        let Some(wire) = &mut self.wire else { return };
        self.asked += 2;
        self.open.push(self.asked);
        self.waits = 0;
        wire.put(&unary(self.asked, ECHO, &self.asked.to_le_bytes()[..self.size]));
        wire.write(usize::MAX);
    }

    /// Reads what has arrived. `may_refuse`: the server may have been told to stop, or others may have taken all memory.
    fn reads(&mut self, may_refuse: bool) {
        let Some(wire) = &mut self.wire else { return };
        for seen in wire.read(usize::MAX) {
            let place = self.open.iter().position(|id| *id == seen.id);
            match (seen.kind, place) {
                (2, Some(place)) => {
                    let echo = &seen.id.to_le_bytes()[..self.size];
                    assert_eq!(
                        (&seen.body[..], seen.flags & 3),
                        (echo, 3),
                        "the good client's echo"
                    );
                    self.open.swap_remove(place);
                }
                (3, Some(place)) => {
                    assert!(may_refuse, "the good client is refused: {seen:?}");
                    self.open.swap_remove(place);
                }
                (7..=11, _) => {}
                _ => panic!("nobody asked for that: {seen:?}"),
            }
        }
    }

    fn waits(&self) -> bool {
        self.wire.is_some() && !self.open.is_empty()
    }
}

impl World for Around<'_> {
    fn happens(&mut self) {
        self.look();
        if self.phase > Phase::Runs {
            self.app.lock().finish();
        }
        match self.phase {
            Phase::Begins => {
                // With limits for it: a window of 64 KiB, and no notifications.
                self.good.wire = Hostile::connect(&self.hub, self.framing, Faults::default());
                let good = self.good.wire.as_mut().expect("the server accepts a first client");
                good.raw(&self.framing.begun());
                good.put(&plain_settings());
                self.good.asks();
                self.phase = Phase::Runs;
            }
            Phase::Runs if self.script.is_over() || self.steps == STEPS => {
                self.phase = Phase::Finishes;
            }
            Phase::Runs => {
                self.steps += 1;
                self.step();
            }
            Phase::Finishes => {
                self.hostile.clear();
                if !self.is_stopped {
                    self.good.asks();
                }
                self.phase = Phase::Alone;
                self.quiet = 0;
            }
            Phase::Alone if self.good.waits() || self.quiet < 2 => self.quiet += 1,
            Phase::Alone => {
                if !self.is_stopped {
                    assert_eq!(self.counts().clients(), 1, "clients that are gone are kept");
                }
                self.good.wire = None;
                self.phase = Phase::Empty;
                self.quiet = 0;
            }
            Phase::Empty if self.quiet < 2 => self.quiet += 1,
            Phase::Empty => {
                self.check_nothing_is_left();
                self.stop();
                self.phase = Phase::Stops;
                self.quiet = 0;
            }
            Phase::Stops => {
                self.quiet += 1;
                assert!(self.quiet < PATIENCE, "the server does not end");
            }
        }
    }
}

impl Around<'_> {
    /// What holds whenever the server has done all that it can do.
    fn look(&mut self) {
        let counts = self.counts();
        assert!(
            counts.memory <= self.memory,
            "{} bytes are held, of {}",
            counts.memory,
            self.memory
        );
        self.good.reads(self.is_stopped || self.is_tight);
        if self.good.waits() {
            self.good.waits += 1;
            let excused = self.is_stopped || (self.is_tight && self.phase < Phase::Alone);
            assert!(excused || self.good.waits < PATIENCE, "the good client waits for its reply");
        }
    }

    fn counts(&self) -> ServerCounts {
        self.handles.get().expect("the server is made").0.read()
    }

    fn stop(&self) {
        self.handles.get().expect("the server is made").1.stop();
    }

    fn step(&mut self) {
        let script = &mut self.script;
        let choice = script.below(32);
        if choice == 0 || self.hostile.is_empty() {
            if self.hostile.len() < HOSTILE {
                let faults = Hostile::faults(script);
                if let Some(mut it) = Hostile::connect(&self.hub, self.framing, faults) {
                    if !script.once_in(8) {
                        it.begin(script);
                    }
                    self.hostile.push(it);
                }
            }
            return;
        }
        let at = if self.hostile.len() == 1 { 0 } else { script.below(self.hostile.len()) };
        let it = &mut self.hostile[at];
        match choice {
            1..=14 => {
                it.frame(script);
                if script.is() {
                    it.write(usize::MAX);
                }
            }
            15 => it.raw(script.bytes(40)),
            16 => it.promise(script.u32() >> (8 * script.below(4))),
            17 => it.write(script.below(256)),
            18 | 19 => it.write(usize::MAX),
            20 => drop(it.read(script.below(256))),
            21 | 22 => drop(it.read(usize::MAX)),
            23 => drop(self.hostile.remove(at)),
            24 => match script.below(8) {
                0 => it.control().reset(),
                1 => it.control().stall(),
                _ => it.control().resume(),
            },
            25 => self.good.asks(),
            26 if script.once_in(8) => {
                self.is_stopped = true;
                self.stop();
            }
            _ => self.app.lock().act(script),
        }
    }

    fn check_nothing_is_left(&self) {
        let counts = self.counts();
        if !self.is_stopped {
            assert_eq!(counts.clients(), 0);
        }
        assert_eq!(counts.memory, 0, "memory is held for clients that have gone");
        assert_eq!(counts.requests.open(), 0, "{counts:?}");
        assert_eq!(counts.calls.open(), 0, "{counts:?}");
        self.app.lock().check();
    }
}

/// Runs a server with the clients that `bytes` describe.
pub fn check(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let mut limits = limits(&mut script);
    let is_tight = script.once_in(4);
    if is_tight {
        limits.memory = script.of(&[0, 100_000]);
    }
    let framing = script.of(&[Plain::Native, Plain::Native, Plain::Native, Plain::Prefix]);
    let (takes_streams, answers_at_once) = (!script.once_in(4), script.once_in(8));
    let (hub, app, handles) =
        (Hub::new(), Shared::new(&mut script, limits.message), Rc::new(OnceCell::new()));
    let messages = match framing {
        Plain::Native => {
            hub.listen_with("server", limits.clone(), Native::for_calls(limits.message))
        }
        Plain::Prefix => {
            hub.listen_with("server", limits.clone(), LengthPrefix::big_endian(40_000))
        }
    };
    // A message may be over the limit, and what a read has returned.
    let limit = limits.message;
    let memory = limits.memory.max(4 * limits.message) + limits.message + (HOSTILE + 1) * READ;
    let around = Around {
        script,
        phase: Phase::Begins,
        steps: 0,
        framing,
        hub,
        hostile: Vec::new(),
        good: Good {
            wire: None,
            asked: 0,
            open: Vec::new(),
            waits: 0,
            size: limits.message.min(4),
        },
        app: app.clone(),
        handles: handles.clone(),
        is_stopped: false,
        memory,
        is_tight,
        quiet: 0,
    };
    let served = served(messages.expect("the hub is new"), around);
    let (connected, closed) = (app.clone(), app.clone());
    let server = Server::over(served, limits)
        .on_connected(move |it| connected.connected(it))
        .on_closed(move |it, _| closed.closed(it))
        .on_notification(move |it| {
            assert!(it.body().len() <= limit && it.metadata().len() <= 4096)
        });
    let server = if takes_streams { server.accept_streams() } else { server };
    assert!(handles.set((server.counters(), server.stopper())).is_ok());
    let served = match answers_at_once {
        true => {
            let app = app.clone();
            server.serve(move |request| app.answer(&request))
        }
        false => server.serve_deferred(|request, responder| app.handle(request, responder)),
    };
    served.expect("in memory nothing fails");
    let counts = handles.get().expect("was set").0.read();
    assert_eq!((counts.clients(), counts.memory), (0, 0), "after the end");
}
