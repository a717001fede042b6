//! The protocol machine of calls, for both sides of a connection: bytes and commands go in, frames and events
//! come out. It does no I/O, reads no clock and takes no lock; its state is data that can be cloned and compared.
//!
//! Whoever drives it passes each message that arrives to [`receive`](Machine::receive), takes the
//! [events](Machine::next_event), gives commands, and sends what [`transmit`](Machine::transmit) returns. It
//! asks for a frame only when there is room to send one: what has been handed over is in order, what has not
//! can still be overtaken.

mod brief;
mod briefs;
mod commands;
mod ends;
mod hash;
mod lists;
#[cfg(test)]
mod proof;
mod receive;
mod requests;
mod schedule;

use super::call::Call;
use super::credit::{Credit, Window};
use super::event::Event;
use super::ids::{Ids, Side, is_lane};
use super::settings::Settings;
use crate::ids::IdMap;
use briefs::Briefs;
use lists::Lazy;
use std::sync::Arc;
use std::time::Instant;

pub(crate) use brief::BriefEvent;
pub use commands::{OpenError, Opening, SendError};

/// The bytes of a piece while several calls send. A call beside a stream of large messages waits for one of
/// them: 16 KiB take 2 µs on a local connection, and smaller ones make the stream slower.
pub const PIECE: usize = 16 * 1024;

/// The largest message that is sent in one piece, while one call sends. It delays a second call by 0.3 ms at most.
pub const PIECE_ALONE: usize = 1 << 20;

/// The bytes of a piece of a larger message, while one call sends. A server gives memory to a frame of more than
/// 64 KiB before it reads it, and for an announced message that has been done.
pub const PIECE_OF_LARGE: usize = 48 * 1024;

/// The control frames that may wait. A peer that causes more of them than it reads is not read until it does.
pub const CONTROL_MAX: usize = 1024;

/// What a side decides for itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// What the peer may do.
    pub settings: Settings,
    /// How many calls this side may have open.
    pub opens: usize,
    /// How many bytes may be queued for a call before more are refused, with [`MESSAGE_COST`] for each message.
    ///
    /// [`MESSAGE_COST`]: super::MESSAGE_COST
    pub queue: usize,
    /// The bytes of a piece while several calls send; see [`PIECE`].
    pub piece: usize,
    /// The largest message that is sent in one piece while one call sends; see [`PIECE_ALONE`].
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
            assumed: Settings::assumed(),
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

/// One side of a connection. The [module](crate::exchange) has an example.
#[derive(Clone, Debug)]
pub struct Machine<T> {
    side: Side,
    config: Arc<Config>,
    /// The peer's settings, or what is assumed of them.
    peer: Settings,
    /// The peer's settings have arrived.
    is_settled: bool,
    /// The largest frame that the peer takes.
    largest_frame: usize,
    calls: IdMap<u32, Call<T>>,
    /// Calls of one message each way. A call is in one of the two tables.
    briefs: Briefs<T>,
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
    /// See [`take_refused`](Machine::take_refused).
    refused: u32,
    /// What arrives on the connection.
    window: Window,
    /// What may be sent on it.
    credit: Credit,
    /// Settings to be sent, and whether an ignorable frame follows them.
    unsent_settings: bool,
    unsent_grease: bool,
    drain: Drain,
    peer_drains: bool,
    /// There is no memory for more requests.
    is_full: bool,
    /// Empty in an idle connection.
    lists: Lazy,
    /// The bytes that the first of `ready` may still send in its turn.
    turn: usize,
    /// See [`held`](Machine::held).
    held: usize,
    /// See [`partials`](Machine::partials).
    partials: usize,
    /// See [`piece_bytes`](Machine::piece_bytes).
    piece_bytes: u64,
    /// No deadline is before this.
    soonest: Option<Instant>,
}

impl<T> Machine<T> {
    /// The machine of a new connection.
    ///
    /// Machines of many connections can share their configuration.
    pub fn new(side: Side, config: impl Into<Arc<Config>>) -> Machine<T> {
        let config = config.into();
        Machine {
            side,
            peer: config.assumed.clone(),
            is_settled: false,
            largest_frame: usize::MAX,
            calls: IdMap::default(),
            briefs: Briefs::new(),
            own_ids: Ids::new(side),
            peer_ids: Ids::new(side.other()),
            own_open: 0,
            own_sent: 0,
            peer_open: 0,
            refused_open: 0,
            refused: 0,
            window: Window::new(
                config.settings.connection_window.max(config.assumed.connection_window),
            ),
            credit: Credit::new(config.assumed.connection_window),
            unsent_settings: true,
            unsent_grease: config.settings.grease.is_some(),
            drain: Drain::No,
            peer_drains: false,
            is_full: false,
            lists: Lazy::default(),
            turn: config.piece,
            held: 0,
            partials: 0,
            piece_bytes: 0,
            soonest: None,
            config,
        }
    }

    /// What happened, in order.
    pub fn next_event(&mut self) -> Option<Event> {
        let event = self.lists.as_mut()?.events.pop_front();
        if event.is_none() {
            self.lists.free_if_empty();
        }
        event
    }

    /// Whether there is a [`next_event`](Machine::next_event).
    pub fn has_events(&self) -> bool {
        !self.lists.events.is_empty()
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
        if let Some(brief) = self.briefs.get_mut(id) {
            return brief.owner.as_mut();
        }
        self.calls.get_mut(&id)?.owner.as_mut()
    }

    /// What the driver keeps for the calls that were not released.
    pub(crate) fn owners(&self) -> impl Iterator<Item = &T> {
        let briefs = self.briefs.iter().filter_map(|(_, brief)| brief.owner.as_ref());
        briefs.chain(self.calls.values().filter_map(|call| call.owner.as_ref()))
    }

    /// As [`owners`](Machine::owners), to be changed.
    pub(crate) fn owners_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let briefs = self.briefs.iter_mut().filter_map(|brief| brief.owner.as_mut());
        briefs.chain(self.calls.values_mut().filter_map(|call| call.owner.as_mut()))
    }

    /// Sets what the driver keeps for a call of the peer.
    pub fn set_owner(&mut self, id: u32, owner: T) {
        if let Some(brief) = self.briefs.get_mut(id) {
            brief.owner = Some(owner);
        } else if let Some(call) = self.calls.get_mut(&id) {
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
        self.lists.refusals.len() + self.lists.urgent.len() >= CONTROL_MAX
    }

    /// The number of errors that wait to be sent for calls of the peer that were refused because it has too many open.
    /// A peer that keeps to the limit that it was told causes no more than it may have open before it knows the limit.
    pub fn refusals(&self) -> usize {
        self.lists.refusals.len()
    }

    /// How many calls of the peer were refused since the last look.
    pub(crate) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused).into()
    }

    /// The bytes that wait to be sent in a call, with [`MESSAGE_COST`](super::MESSAGE_COST) for each message.
    pub fn queued(&self, id: u32) -> usize {
        self.calls.get(&id).map_or(0, |call| call.outgoing.cost())
    }

    /// The bytes of [`held`](Machine::held) that wait to be sent in a call.
    pub fn queued_bytes(&self, id: u32) -> usize {
        self.calls.get(&id).map_or(0, |call| call.outgoing.queued())
    }

    /// The bytes of [`held`](Machine::held) that wait to be sent in this side's own calls.
    pub(crate) fn own_queued_bytes(&self) -> usize {
        if self.own_open == 0 {
            return 0;
        }
        let own = self.calls.iter().filter(|(id, _)| self.is_own(**id) && !is_lane(**id));
        own.map(|(_, call)| call.outgoing.queued()).sum()
    }

    /// The bytes that are held: incomplete messages, and messages that wait to be sent.
    pub fn held(&self) -> usize {
        self.held
    }

    /// The number of messages that have begun to arrive, or were admitted, and are not whole.
    pub fn partials(&self) -> usize {
        self.partials
    }

    /// Counts the bytes of messages of several pieces that have arrived.
    pub fn piece_bytes(&self) -> u64 {
        self.piece_bytes
    }

    /// When the first piece of the oldest message arrived that has begun and is not whole.
    pub fn oldest_piece(&self) -> Option<Instant> {
        self.calls.values().filter_map(|call| call.incoming.since()).min()
    }

    /// The number of calls with an entry that has queues. Calls of one message each way have a smaller one.
    pub fn entries(&self) -> usize {
        self.calls.len()
    }

    /// Whether a call's message was announced and waits to be admitted.
    pub fn is_announced(&self, id: u32) -> bool {
        self.calls.get(&id).is_some_and(|call| call.incoming.asks())
    }

    /// Whether a message of a call has begun to arrive, or was admitted, and is not whole.
    pub fn is_arriving(&self, id: u32) -> bool {
        self.calls.get(&id).is_some_and(|call| call.incoming.is_owed())
    }

    /// Whether a call of the peer is over although the application has not released it: it was cancelled.
    pub fn is_cut_off(&self, id: u32) -> bool {
        self.calls.get(&id).is_some_and(|call| call.silent && !call.released)
    }

    /// Whether there is a call with this id.
    fn is_known(&self, id: u32) -> bool {
        self.calls.contains_key(&id) || self.briefs.get(id).is_some()
    }

    /// Changes a call, and counts what is held for it anew.
    fn change<R>(
        &mut self,
        id: u32,
        change: impl FnOnce(&mut Call<T>, &mut Window) -> R,
    ) -> Option<R> {
        let call = self.calls.get_mut(&id)?;
        let (held, partial) = (call.held(), call.incoming.is_owed());
        let result = change(call, &mut self.window);
        self.held = self.held + call.held() - held;
        self.partials = self.partials + usize::from(call.incoming.is_owed()) - usize::from(partial);
        Some(result)
    }

    /// The window of a call of either side.
    fn call_window(&self) -> u64 {
        self.config.settings.call_window.max(self.config.assumed.call_window)
    }

    fn is_own(&self, id: u32) -> bool {
        Side::of(id) == self.side
    }
}
