//! The protocol machine of calls, for both sides of a connection: bytes and commands go in, frames and events
//! come out. It does no I/O, reads no clock and takes no lock; its state is data that can be cloned and compared.
//!
//! Whoever drives it passes each message that arrives to [`receive`](Machine::receive), takes the
//! [events](Machine::next_event), gives commands, and sends what [`transmit`](Machine::transmit) returns. It
//! asks for a frame only when there is room to send one: what has been handed over is in order, what has not
//! can still be overtaken.

mod commands;
mod ends;
mod hash;
#[cfg(test)]
mod proof;
mod receive;
mod schedule;

use super::call::Call;
use super::credit::{Credit, Window};
use super::event::Event;
use super::ids::{Ids, Side};
use super::settings::Settings;
use crate::ids::IdMap;
use std::collections::VecDeque;
use std::time::Instant;

pub use commands::{OpenError, Opening, SendError};

/// The bytes of a piece while several calls send. A call beside a stream of large messages waits for one of
/// them: 16 KiB take 2 µs on a local connection, and smaller ones make the stream slower.
pub const PIECE: usize = 16 * 1024;

/// The bytes of a piece while one call sends. What is begun then delays a second call by 0.3 ms at most.
pub const PIECE_ALONE: usize = 1 << 20;

/// The control frames that may wait. A peer that causes more of them than it reads is not read until it does.
pub const CONTROL_MAX: usize = 1024;

/// What a side decides for itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// What the peer may do.
    pub settings: Settings,
    /// How many calls this side may have open.
    pub opens: usize,
    /// How many bytes may be queued for a call before more of them are refused.
    pub queue: usize,
    /// The bytes of a piece while several calls send; see [`PIECE`].
    pub piece: usize,
    /// The bytes of a piece while one call sends; see [`PIECE_ALONE`].
    pub piece_alone: usize,
    /// What holds until the peer's settings have arrived: part of the protocol.
    pub assumed: Settings,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            settings: Settings::default(),
            opens: 1024,
            queue: 1 << 20,
            piece: PIECE,
            piece_alone: PIECE_ALONE,
            assumed: Settings::default(),
        }
    }
}

/// Whether calls of the peer are begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Drain {
    No,
    /// The frame that says so is to be sent.
    Asked,
    Said,
}

/// Why a peer's call was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum NotBegun {
    TooMany,
    Stopping,
}

/// One side of a connection. The [module](crate::exchange) has an example.
#[derive(Clone, Debug)]
pub struct Machine<T> {
    side: Side,
    config: Config,
    /// The peer's settings, or what is assumed of them.
    peer: Settings,
    /// The peer's settings have arrived.
    is_settled: bool,
    /// The largest frame that the peer takes.
    largest_frame: usize,
    calls: IdMap<u32, Call<T>>,
    own_ids: Ids,
    peer_ids: Ids,
    /// This side's calls that have not ended on the wire.
    own_open: usize,
    /// Those of them with a request that was sent.
    own_sent: usize,
    /// The peer's calls in the table, without those that were not begun.
    peer_open: usize,
    /// The peer's calls in the table that were not begun, and of which more may arrive.
    refused_open: usize,
    /// What arrives on the connection.
    window: Window,
    /// What may be sent on it.
    credit: Credit,
    /// Settings to be sent, and whether an ignorable frame follows them.
    unsent_settings: bool,
    unsent_grease: bool,
    drain: Drain,
    peer_drains: bool,
    /// Calls of the peer that were not begun and need no entry: their errors are to be sent.
    refusals: VecDeque<(u32, NotBegun)>,
    /// This side's calls of which nothing has been sent. They leave in order, as ids on the wire only go up.
    unsent: VecDeque<u32>,
    /// Calls with control frames.
    urgent: VecDeque<u32>,
    /// Calls that may send messages, in turn. An entry of a call with another [`Place`] is stale.
    ///
    /// [`Place`]: super::call::Place
    ready: VecDeque<u32>,
    /// Calls with a next message that the credit of the connection does not cover, in order: a large message
    /// is not overtaken for ever by small ones.
    waiting: VecDeque<u32>,
    /// The bytes that the first of `ready` may still send in its turn.
    turn: usize,
    events: VecDeque<Event>,
    /// No deadline is before this.
    soonest: Option<Instant>,
}

impl<T> Machine<T> {
    /// The machine of a new connection.
    pub fn new(side: Side, config: Config) -> Machine<T> {
        Machine {
            side,
            peer: config.assumed.clone(),
            is_settled: false,
            largest_frame: usize::MAX,
            calls: IdMap::default(),
            own_ids: Ids::new(side),
            peer_ids: Ids::new(side.other()),
            own_open: 0,
            own_sent: 0,
            peer_open: 0,
            refused_open: 0,
            window: Window::new(
                config.settings.connection_window.max(config.assumed.connection_window),
            ),
            credit: Credit::new(config.assumed.connection_window),
            unsent_settings: true,
            unsent_grease: config.settings.grease.is_some(),
            drain: Drain::No,
            peer_drains: false,
            refusals: VecDeque::new(),
            unsent: VecDeque::new(),
            urgent: VecDeque::new(),
            ready: VecDeque::new(),
            waiting: VecDeque::new(),
            turn: config.piece,
            events: VecDeque::new(),
            soonest: None,
            config,
        }
    }

    /// What happened, in order.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The peer's settings, if they have arrived.
    pub fn peer_settings(&self) -> Option<&Settings> {
        self.is_settled.then_some(&self.peer)
    }

    /// The peer takes frames of up to so many bytes.
    pub fn set_largest_frame(&mut self, bytes: usize) {
        self.largest_frame = bytes;
    }

    /// What the driver keeps for a call.
    pub fn owner(&mut self, id: u32) -> Option<&mut T> {
        self.calls.get_mut(&id)?.owner.as_mut()
    }

    /// Sets what the driver keeps for a call of the peer.
    pub fn set_owner(&mut self, id: u32, owner: T) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.owner = Some(owner);
        }
    }

    /// The number of this side's open calls.
    pub fn own_open(&self) -> usize {
        self.own_open
    }

    /// The number of the peer's calls that the application has not released, or that have not ended.
    pub fn peer_open(&self) -> usize {
        self.peer_open
    }

    /// Whether so many control frames wait for a peer that does not read them that nothing more is to be read
    /// of it.
    pub fn is_flooded(&self) -> bool {
        self.refusals.len() + self.urgent.len() >= CONTROL_MAX
    }

    /// The bytes that are held: incomplete messages, and messages that wait to be sent.
    pub fn held(&self) -> usize {
        let of = |call: &Call<T>| call.incoming.held() + call.outgoing.queued();
        self.calls.values().map(of).sum()
    }

    /// The window of a call of either side.
    fn call_window(&self) -> u64 {
        self.config.settings.call_window.max(self.config.assumed.call_window)
    }

    fn is_own(&self, id: u32) -> bool {
        Side::of(id) == self.side
    }
}
