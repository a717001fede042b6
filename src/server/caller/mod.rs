//! A connected client: its machine of calls, and the memory that is held for it.

mod calls;
mod feeding;
mod owner;
mod sending;
mod taking;

pub(super) use calls::Unopened;
pub(super) use owner::{InFlight, Owner};

use crate::account::{Charge, Share};
use crate::clock;
use crate::counts::CallEnd;
use crate::error::CloseReason;
use crate::exchange::{self, Config, Frame, Machine, Side};
use crate::framing::READ_CHUNK;
use crate::message_server::{ConnectionId, MessageServer};
use crate::server::arrival::{Arrival, Lateness};
use crate::server::connection::{Connection, Origin};
use crate::server::interrupt::Interrupt;
use crate::server::responder::Request;
use crate::trace::RequestSpan;
use bytes::Bytes;
use feeding::Streams;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// The memory of a call besides its bytes, if it is not one of one message each way: its entry and its queues.
const ENTRY_COST: usize = 1024;

pub(super) struct Caller {
    pub origin: Arc<Origin>,
    pub machine: Machine<Owner>,
    /// A frame that the send queue has refused. It is sent before any other.
    refused: Option<Box<Frame>>,
    /// The memory that is held: messages that have not arrived or have not been sent, requests in flight, and
    /// what is reserved.
    charge: Charge,
    /// The part of it that belongs to requests in flight.
    pub in_flight_bytes: usize,
    /// The part of it that is reserved for announced messages.
    pub reserved: usize,
    /// Announced messages, in order: their calls and sizes.
    announced: VecDeque<(u32, usize)>,
    /// It is in the list of those that wait for memory.
    pub waits_for_room: bool,
    /// What it has sent of incomplete messages. `None`: it has none to send.
    pub arrival: Option<Box<Arrival>>,
    /// Since when it is not read, as it does not read.
    blocked: Option<Instant>,
    /// Its frames are read even without memory.
    keeps_going: bool,
    /// Its replies of parts. Most clients have none.
    streams: Option<Box<Streams>>,
    /// Parts may be in its send queue.
    has_sent_parts: bool,
    /// It gets small replies beside parts that wait for it: little of them is in the system's buffer.
    is_mixed: bool,
    /// It is read although it does not read.
    unread_allowed: bool,
    /// Calls to it from before its settings.
    early: Vec<Unopened>,
    /// Why this server closes it.
    pub why: Option<Box<CloseReason>>,
    /// It has half-closed: it sends nothing more.
    pub finished: bool,
    /// It looks on what is sent: what concerns itself is not shown to it.
    pub is_hidden: bool,
}

impl Caller {
    pub fn new(origin: Arc<Origin>, config: Arc<Config>, share: Share) -> Caller {
        Caller {
            origin,
            machine: Machine::new(Side::Server, config),
            refused: None,
            charge: Charge::new(share),
            in_flight_bytes: 0,
            reserved: 0,
            announced: VecDeque::new(),
            waits_for_room: false,
            arrival: None,
            blocked: None,
            keeps_going: false,
            streams: None,
            has_sent_parts: false,
            is_mixed: false,
            unread_allowed: false,
            early: Vec::new(),
            why: None,
            finished: false,
            is_hidden: false,
        }
    }

    /// A request of it has arrived wholly. From here on the account of the server counts it.
    pub fn request(&mut self, body: Bytes, charge: exchange::Charge) -> Request {
        self.machine.give_back(charge);
        let origin = self.origin.clone();
        Request {
            body,
            method: 0,
            deadline: None,
            metadata: None,
            origin,
            parts: None,
            watch: None,
            span: RequestSpan::default(),
        }
    }

    pub fn share(&self) -> &Share {
        self.charge.share()
    }

    /// A request in flight.
    fn in_flight(&mut self, id: u32) -> Option<&mut InFlight> {
        match self.machine.owner(id) {
            Some(Owner::Request(request)) => Some(request),
            _ => None,
        }
    }

    /// A request is answered.
    fn release(&mut self, id: u32, end: CallEnd) {
        if let Some(Owner::Request(request)) = self.machine.release(id) {
            self.is_done(request, end);
        }
    }

    /// Nobody waits for the answer to a request.
    pub fn cancel(&mut self, id: u32, why: Interrupt) {
        let origin = self.origin.clone();
        let held = self.in_flight(id).map(|request| {
            count(&origin, request, why.into());
            request.cancel(why)
        });
        self.give_back(held.unwrap_or_default());
    }

    /// A request was answered, and its call released.
    fn is_done(&mut self, mut request: InFlight, end: CallEnd) {
        count(&self.origin, &request, end);
        let held = request.give_up_parts();
        self.give_back(held);
        self.in_flight_bytes -= request.held;
    }

    /// The server was told to stop.
    pub fn drain(&mut self) {
        self.machine.drain();
        if let Some(lane) = self.origin.lane() {
            lane.stop_waiting();
        }
        let requests = self.machine.owners().filter_map(Owner::request);
        requests.for_each(|request| request.watch.tell(Interrupt::Stopping));
    }

    /// The memory that is held for it.
    pub fn held(&self) -> usize {
        self.charge.bytes()
    }

    /// Charges what is held now.
    pub fn settle(&mut self) {
        let refused = self.refused.as_ref().map_or(0, |frame| frame.size());
        // A reservation covers what has arrived of its message.
        let held = self.charged_bytes().max(self.reserved);
        let entries = self.machine.entries() * ENTRY_COST;
        self.charge.set(held + refused + self.in_flight_bytes + self.early_bytes() + entries);
    }

    /// The bytes that the machine holds and that are charged.
    fn charged_bytes(&mut self) -> usize {
        self.machine.held() - self.uncharged_bytes()
    }

    /// While a reply or a notification waits for credit, a request is in flight, or the client sends what memory is reserved for, its
    /// frames free memory: they are read even if there is none. So is its end.
    pub fn keep_going(&mut self, messages: &mut impl MessageServer, connection: ConnectionId) {
        let is_awaited = self.machine.held() > 0 || self.reserved > 0;
        let has_calls = self.in_flight_bytes > 0 || self.machine.own_open() > 0;
        // Those without bytes wait, too.
        let keeps_going = is_awaited || has_calls || self.has_parts_waiting();
        if keeps_going != self.keeps_going {
            self.keeps_going = keeps_going;
            messages.keep_going(connection, keeps_going);
        }
    }

    /// It has announced a message of this size.
    pub fn announce(&mut self, id: u32, size: usize) {
        // Those whose calls are over are forgotten when they are most of all.
        if self.announced.len() > 2 * self.machine.entries() {
            self.announced.retain(|(id, _)| self.machine.is_announced(*id));
        }
        self.announced.push_back((id, size));
    }

    /// The first of the announced messages.
    pub fn next_announced(&mut self) -> Option<(u32, usize)> {
        while self.announced.front().is_some_and(|(id, _)| !self.machine.is_announced(*id)) {
            self.announced.pop_front();
        }
        self.announced.front().copied()
    }

    /// There is memory for an announced message.
    pub fn admit(&mut self, id: u32, size: usize, now: Instant) {
        self.machine.admit(id);
        self.reserved = size;
        let bytes = self.machine.piece_bytes();
        self.arrival.get_or_insert_with(|| Arrival::new(now, bytes).into());
        self.settle();
    }

    /// Something of an incomplete message has arrived. `is_whole`: it was the last piece of one.
    pub fn arrives(&mut self, now: Instant, is_whole: bool) {
        let bytes = self.machine.piece_bytes();
        if self.machine.partials() == 0 {
            (self.arrival, self.reserved) = (None, 0);
        } else {
            let arrival = self.arrival.get_or_insert_with(|| Arrival::new(now, bytes).into());
            arrival.arrives(now, bytes, is_whole);
        }
    }

    /// It reads again, so it is read again.
    pub fn unblock(&mut self) {
        let Some(since) = self.blocked.take() else { return };
        if let Some(arrival) = &mut self.arrival {
            arrival.excuse(since, clock::now());
        }
    }

    /// How long it has not sent what it owes of its incomplete messages, in the time in which it was read.
    pub fn lateness(&self, now: Instant) -> Lateness {
        match (&self.arrival, self.blocked) {
            (Some(arrival), None) => arrival.lateness(now, self.machine.oldest_piece()),
            _ => Lateness::default(),
        }
    }

    /// Whether everything has been handed over for sending.
    pub fn is_idle(&self) -> bool {
        self.refused.is_none() && self.machine.held() == 0 && !self.machine.has_unsent()
    }
}

/// Counts a request as ended, unless it was before.
fn count(origin: &Arc<Origin>, request: &InFlight, end: CallEnd) {
    let watch = &request.watch;
    if !watch.is_over() {
        watch.span.ends(end);
        let whose = || (Connection::new(origin.clone()), watch.method);
        origin.outbox.tally.ends(end, watch.began, whose);
    }
}

/// The body of a request that is held until it is answered: a copy of its own if it is small, not a slice of a
/// buffer that other messages share. Returns the bytes that are held for it.
pub(super) fn keep(body: &mut Bytes) -> usize {
    let size = body.len();
    if size < READ_CHUNK / 4 {
        *body = Bytes::copy_from_slice(body);
        return size;
    }
    size.max(READ_CHUNK)
}
