//! Messages over a client's stream: framing on the caller's thread, for threads that take turns.

use super::turn::Turn;
use crate::client_stream::{ClientStream, ReadMessage};
use crate::error::CloseReason;
use crate::framing::{Carrier, Framing, FramingError, Inbound, Outbound};
use bytes::{Bytes, BytesMut};
use std::io::{self, ErrorKind, IoSlice};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many pieces of a message go into one gathering write.
const SLICES: usize = 16;

/// How long a thread that cannot send lets another one read before it looks whether that one still
/// does. Only a peer that reads nothing makes it wait at all.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Where messages go that are read while something is sent.
pub(super) trait Inbox {
    /// Takes the right to read, if no thread has it.
    fn try_lead(&self) -> bool;

    /// Gives the right to read back.
    fn stop_leading(&self);

    /// Takes a message; an error says how the peer broke the protocol with it.
    fn deliver(&self, message: Bytes) -> Result<(), String>;
}

/// Why nothing was sent or received. The connection goes on after a deadline, and after nothing else.
#[derive(Debug)]
pub(super) enum Failure {
    /// The time is over; what was to be sent is on its way.
    Deadline,
    /// The time was over before anything of it was queued.
    Unsent,
    /// The framing cannot carry it.
    Refused(FramingError),
    Closed(CloseReason),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            ErrorKind::TimedOut => Failure::Deadline,
            _ => Failure::Closed(error.into()),
        }
    }
}

pub(super) struct Channel {
    pub stream: Box<dyn ClientStream>,
    outbound: Turn<Sender>,
    inbound: Mutex<Receiver>,
    carrier: Carrier,
    /// The largest message that both sides take; shrinks once the peer's preface has come.
    limit: AtomicUsize,
}

struct Sender {
    outbound: Outbound,
    /// A deadline passed before all was sent: that goes first.
    stuck: bool,
}

struct Receiver {
    inbound: Inbound,
    buffer: BytesMut,
}

impl Channel {
    pub fn new(stream: Box<dyn ClientStream>, framing: &dyn Framing) -> Channel {
        let limit = framing.limit().min(stream.largest_message());
        let channel = Channel {
            stream,
            carrier: framing.carrier(),
            outbound: Turn::new(Sender { outbound: Outbound::new(framing), stuck: false }),
            inbound: Mutex::new(Receiver {
                inbound: Inbound::new(framing),
                buffer: BytesMut::new(),
            }),
            limit: AtomicUsize::new(limit),
        };
        channel.begin();
        channel
    }

    /// Sends what a stream begins with, as far as it can be sent at once: a server waits for it, also
    /// of a client that only listens. The rest goes with the first message; if it fails, so will that.
    fn begin(&self) {
        if let Some(mut sender) = self.outbound.take(Some(Instant::now())) {
            if !sender.outbound.queue.is_empty() {
                let _ = self.write(&mut sender.outbound);
            }
        }
    }

    /// The largest message, as far as is known.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Sends messages, each a head and a body, in one piece as far as that goes. While the peer
    /// takes nothing, what it sends is read: it may be waiting for just that.
    ///
    /// At the deadline what is left of the last message stays queued and goes first the next time,
    /// so that the stream stays whole.
    pub fn send<const N: usize>(
        &self,
        messages: impl IntoIterator<Item = ([u8; N], Bytes)>,
        deadline: Option<Instant>,
        inbox: &dyn Inbox,
    ) -> Result<(), Failure> {
        let mut sender = self.outbound.take(deadline).ok_or(Failure::Unsent)?;
        if sender.stuck {
            self.flush(&mut sender.outbound, deadline, inbox).map_err(|failure| match failure {
                Failure::Deadline => Failure::Unsent,
                failure => failure,
            })?;
        }
        for (head, body) in messages {
            let queued = sender.outbound.encode(&head, body, None);
            queued.map_err(Failure::Refused)?;
        }
        let sent = self.flush(&mut sender.outbound, deadline, inbox);
        sender.stuck = sent.is_err();
        sent
    }

    fn flush(
        &self,
        outbound: &mut Outbound,
        deadline: Option<Instant>,
        inbox: &dyn Inbox,
    ) -> Result<(), Failure> {
        while !outbound.queue.is_empty() {
            match self.write(outbound) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(deadline, inbox)?
                }
                Err(error) => return Err(self.why_unwritable(error, inbox)),
            }
        }
        while !self.stream.is_sent() {
            self.wait(deadline, inbox)?;
        }
        Ok(())
    }

    fn write(&self, outbound: &mut Outbound) -> io::Result<()> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled = outbound.queue.slices(&mut slices);
        let taken = self.stream.write(&slices[..filled])?;
        if taken == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        outbound.queue.advance(taken);
        Ok(())
    }

    /// Waits until more can be sent, reading meanwhile unless another thread does. That one may stop
    /// at any time, without telling one that does not wait for a reply: so it is asked again.
    fn wait(&self, deadline: Option<Instant>, inbox: &dyn Inbox) -> Result<(), Failure> {
        let leads = inbox.try_lead();
        let again = Instant::now() + LOOK_AGAIN;
        let is_last = deadline.is_some_and(|at| at <= again);
        let until = if leads || is_last { deadline } else { Some(again) };
        let waited = match self.stream.wait_writable(leads, until) {
            Err(error) if error.kind() == ErrorKind::TimedOut && until != deadline => Ok(()),
            waited => waited,
        };
        let read = match leads {
            true => self.receive(Some(Instant::now()), inbox),
            false => Ok(()),
        };
        if leads {
            inbox.stop_leading();
        }
        waited?;
        match read {
            Err(Failure::Closed(reason)) => Err(Failure::Closed(reason)),
            _ => Ok(()),
        }
    }

    /// A write has failed: the peer has closed, and may have said why before it did.
    fn why_unwritable(&self, error: io::Error, inbox: &dyn Inbox) -> Failure {
        if inbox.try_lead() {
            let ended = loop {
                match self.receive(Some(Instant::now()), inbox) {
                    Ok(()) => {}
                    Err(Failure::Closed(reason)) => break Some(reason),
                    Err(_) => break None,
                }
            };
            inbox.stop_leading();
            if let Some(reason) = ended {
                return Failure::Closed(reason);
            }
        }
        Failure::Closed(error.into())
    }

    /// Reads once, waiting until `deadline`, and delivers the messages that are whole. Only for the
    /// thread that has the right to read.
    pub fn receive(&self, deadline: Option<Instant>, inbox: &dyn Inbox) -> Result<(), Failure> {
        let mut receiver = self.inbound.lock().unwrap_or_else(PoisonError::into_inner);
        let Receiver { inbound, buffer } = &mut *receiver;
        let mut input = inbound.read_buffer(buffer);
        let outcome = match self.read(&mut input, deadline) {
            Ok(()) => deliver_all(inbound, &mut input, inbox),
            Err(Failure::Closed(CloseReason::Broken(error)))
                if error.kind() == ErrorKind::Interrupted =>
            {
                Ok(())
            }
            failed => failed,
        };
        inbound.put_back(input, buffer);
        if let Some(limit) = inbound.peer_limit() {
            self.limit.fetch_min(limit, Ordering::Relaxed);
        }
        match outcome {
            Err(Failure::Closed(CloseReason::Finished)) => {
                let reason =
                    inbound.finish().map_or_else(CloseReason::from, |()| CloseReason::Finished);
                Err(Failure::Closed(reason))
            }
            outcome => outcome,
        }
    }

    /// Reads some bytes, or one message.
    fn read(&self, input: &mut BytesMut, deadline: Option<Instant>) -> Result<(), Failure> {
        let read = match self.carrier {
            Carrier::Stream => self.stream.read(input, deadline).map(|read| match read {
                0 => ReadMessage::End,
                _ => ReadMessage::Whole,
            }),
            Carrier::Messages { limit } => self.stream.read_message(input, limit, deadline),
        };
        match read? {
            ReadMessage::Whole => Ok(()),
            ReadMessage::End => Err(Failure::Closed(CloseReason::Finished)),
            ReadMessage::TooLarge(size) => {
                let limit = self.limit();
                Err(Failure::Closed(FramingError::TooLarge { size, limit }.into()))
            }
        }
    }

    /// Tells the peer why, if it is to be told and can be told at once, and closes.
    pub fn close(&self, reason: &CloseReason) {
        if let Some(why) = reason.goodbye() {
            if let Some(mut sender) = self.outbound.take(Some(Instant::now())) {
                sender.outbound.goodbye(why.code, &why.text);
                // The connection ends in any case; the peer sees that too.
                let _ = self.write(&mut sender.outbound);
            }
        }
        self.stream.shutdown();
    }
}

fn deliver_all(
    inbound: &mut Inbound,
    input: &mut BytesMut,
    inbox: &dyn Inbox,
) -> Result<(), Failure> {
    loop {
        match inbound.decode(input) {
            Ok(Some(message)) => {
                let broken = |text| Failure::Closed(CloseReason::Protocol(text));
                inbox.deliver(message).map_err(broken)?;
            }
            Ok(None) => return Ok(()),
            Err(error) => return Err(Failure::Closed(error.into())),
        }
    }
}
