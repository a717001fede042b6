//! One direction of a call, on the side that receives it: frames that arrive, and how they become messages.

use super::credit::{MESSAGE_COST, Window};
use super::frame::{Frame, Kind};
use super::metadata::Metadata;
use super::violation::Broken;
use bytes::Bytes;
use std::time::Instant;

/// A message that has arrived.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Arrived {
    /// Its metadata.
    pub metadata: Metadata,
    /// Of a notification; 0 in calls.
    pub method: u32,
    /// Its bytes.
    pub body: Bytes,
    /// The credit that it holds.
    pub charge: Charge,
    /// It is the last of its direction.
    pub last: bool,
}

/// The credit that a message holds. It is given back when the application takes the message:
/// [`Machine::taken`](super::Machine::taken) and [`Machine::give_back`](super::Machine::give_back).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[must_use = "credit that is not given back is lost"]
pub struct Charge {
    /// Of the call.
    pub(crate) call: u64,
    /// Of the connection.
    pub(crate) connection: u64,
}

impl Charge {
    /// Both together.
    pub(crate) fn add(&mut self, other: Charge) {
        self.call += other.call;
        self.connection += other.connection;
    }

    /// Of a reply to a call of this side.
    pub(crate) fn of_reply(size: usize) -> Charge {
        Charge { call: size as u64 + MESSAGE_COST, connection: 0 }
    }
}

/// A message of several pieces that has not arrived wholly.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Partial {
    total: usize,
    have: usize,
    /// Empty if nobody waits for the message. It grows with what arrives, not with what was announced.
    data: Vec<u8>,
    /// The bytes that were allocated for it.
    allocated: usize,
    metadata: Metadata,
    method: u32,
    charge: Charge,
    /// It has been announced, and waits for room.
    asks: bool,
    /// It was announced, and admitted.
    admitted: bool,
    /// When its first piece arrived.
    since: Option<Instant>,
}

/// What a frame brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Brought {
    /// No whole message.
    Nothing,
    /// A message of this size waits for room.
    Announced(usize),
    Message(Arrived),
    /// The end, with no message.
    End,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Incoming {
    pub window: Window,
    /// Messages are charged to the connection until the application takes them. Not so the replies to this
    /// side's own calls: it asked for them, and a reply that waits must not hold back the one that somebody
    /// waits for.
    charges_connection: bool,
    partial: Option<Box<Partial>>,
    /// Nobody waits for what still arrives: it is dropped, and its credit is given back.
    discards: bool,
    /// The last frame has arrived.
    pub ended: bool,
}

impl Incoming {
    pub fn new(window: u64, charges_connection: bool) -> Incoming {
        let window = Window::new(window);
        Incoming { window, charges_connection, partial: None, discards: false, ended: false }
    }

    /// The memory that is held for an incomplete message.
    pub fn held(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.allocated + partial.metadata.len())
    }

    /// The memory that was allocated for its bytes.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.data.capacity())
    }

    /// When the first piece of a message arrived that is not whole.
    pub fn since(&self) -> Option<Instant> {
        self.partial.as_ref()?.since
    }

    /// Drops what has arrived of a message, and all that still arrives. Returns the credit of the connection
    /// that it held.
    pub fn discard(&mut self) -> u64 {
        self.discards = true;
        let Some(partial) = &mut self.partial else {
            return 0;
        };
        (partial.data, partial.allocated) = (Vec::new(), 0);
        partial.metadata = Metadata::default();
        std::mem::take(&mut partial.charge.connection)
    }

    /// The sender has ended its direction inside a message, or before.
    pub fn cut_off(&mut self) -> u64 {
        let freed = self.discard();
        self.partial = None;
        self.ended = true;
        freed
    }

    /// Whether a message has begun and is not whole.
    pub fn is_inside(&self) -> bool {
        self.partial.is_some()
    }

    /// Whether the sender may send more, and not only to be dropped.
    pub fn wants_more(&self) -> bool {
        !self.ended && !self.discards
    }

    /// Whether a message has begun to arrive without having been admitted.
    pub fn is_unadmitted(&self) -> bool {
        self.partial.as_ref().is_some_and(|partial| !partial.asks && !partial.admitted)
    }

    /// Whether the sender has to send more of a message: it has begun, or was admitted.
    pub fn is_owed(&self) -> bool {
        self.is_inside() && !self.asks()
    }

    /// Whether a message waits for room.
    pub fn asks(&self) -> bool {
        self.partial.as_ref().is_some_and(|partial| partial.asks)
    }

    /// There is room for the announced message. The sender must be told.
    pub fn admit(&mut self) {
        if let Some(partial) = &mut self.partial {
            (partial.asks, partial.admitted) = (false, true);
        }
    }

    /// A frame with a message, a piece of one, or the end has arrived.
    pub fn receive(
        &mut self,
        frame: Frame,
        connection: &mut Window,
        largest: u32,
        now: Instant,
    ) -> Result<Brought, Broken> {
        let (id, ends_stream) = (frame.id, frame.ends_stream);
        if self.ended {
            return Err(Broken::AfterEnd { id });
        }
        let brought = match self.partial.take() {
            Some(partial) => self.go_on(partial, frame)?,
            None => self.begin(frame, connection, largest)?,
        };
        if let Some(partial) = self.partial.as_mut().filter(|it| it.since.is_none() && it.have > 0)
        {
            partial.since = Some(now);
        }
        self.ended = ends_stream;
        Ok(brought)
    }

    /// The first frame of a message, or one without a message.
    fn begin(
        &mut self,
        frame: Frame,
        connection: &mut Window,
        largest: u32,
    ) -> Result<Brought, Broken> {
        let (id, has) = (frame.id, frame.body.len());
        if !frame.ends_message && frame.total.is_none() {
            return begin_nothing(&frame);
        }
        if frame.ends_message && frame.total.is_some() {
            return Err(Broken::WrongTotal { id });
        }
        if frame.ends_stream && !frame.ends_message {
            return Err(Broken::EndInside { id });
        }
        let total = frame.total.map_or(has, |total| total as usize);
        if total > largest as usize {
            return Err(Broken::TooLarge { total: total as u64, limit: largest.into() });
        }
        if !frame.ends_message && has >= total {
            return Err(Broken::WrongSum { id });
        }
        let cost = (total + frame.metadata.len()) as u64 + MESSAGE_COST;
        let method = method(&frame);
        let metadata = Metadata::decode(frame.metadata)?;
        let is_announced = !frame.ends_message && has == 0;
        let charge = match is_announced {
            true if cost <= self.window.largest() => return Err(Broken::EmptyPiece { id }),
            // It costs no credit: the receiver decides when there is room.
            true => Charge::default(),
            false => self.charge(id, cost, connection)?,
        };
        if frame.ends_message {
            return Ok(self.arrived(metadata, method, frame.body, charge, frame.ends_stream));
        }
        let data = Vec::new();
        let mut partial = Partial {
            total,
            have: 0,
            data,
            allocated: 0,
            metadata,
            method,
            charge,
            asks: is_announced,
            admitted: false,
            since: None,
        };
        partial.add(&frame.body, self.discards);
        self.partial = Some(Box::new(partial));
        Ok(if is_announced { Brought::Announced(total) } else { Brought::Nothing })
    }

    /// The next piece of a message.
    fn go_on(&mut self, mut partial: Box<Partial>, frame: Frame) -> Result<Brought, Broken> {
        let id = frame.id;
        if partial.asks {
            return Err(Broken::NotAdmitted { id });
        }
        if frame.total.is_some() {
            return Err(Broken::WrongTotal { id });
        }
        if !frame.metadata.is_empty() || method(&frame) != 0 {
            return Err(Broken::LateFields { id });
        }
        if frame.ends_stream && !frame.ends_message {
            return Err(Broken::EndInside { id });
        }
        if frame.body.is_empty() {
            return Err(Broken::EmptyPiece { id });
        }
        partial.add(&frame.body, self.discards);
        if frame.ends_message != (partial.have == partial.total) || partial.have > partial.total {
            return Err(Broken::WrongSum { id });
        }
        if !frame.ends_message {
            self.partial = Some(partial);
            return Ok(Brought::Nothing);
        }
        let Partial { metadata, method, data, charge, .. } = *partial;
        Ok(self.arrived(metadata, method, data.into(), charge, frame.ends_stream))
    }

    /// Charges a message that begins.
    fn charge(&mut self, id: u32, cost: u64, connection: &mut Window) -> Result<Charge, Broken> {
        let window = &mut self.window;
        window.receive(cost).map_err(|over| Broken::CallCredit {
            id,
            received: over.received,
            granted: over.granted,
        })?;
        connection.receive(cost).map_err(|over| Broken::ConnectionCredit {
            received: over.received,
            granted: over.granted,
        })?;
        if self.charges_connection && !self.discards {
            return Ok(Charge { call: cost, connection: cost });
        }
        connection.take(cost);
        Ok(Charge { call: cost, connection: 0 })
    }

    fn arrived(
        &mut self,
        metadata: Metadata,
        method: u32,
        body: Bytes,
        charge: Charge,
        last: bool,
    ) -> Brought {
        match self.discards {
            true if last => Brought::End,
            true => Brought::Nothing,
            false => Brought::Message(Arrived { metadata, method, body, charge, last }),
        }
    }
}

/// A frame that neither is a message nor begins one: the bare end, or a request whose messages follow.
fn begin_nothing(frame: &Frame) -> Result<Brought, Broken> {
    let id = frame.id;
    if !frame.body.is_empty() {
        return Err(Broken::NoTotal { id });
    }
    if matches!(frame.kind, Kind::Request { .. }) {
        // Its metadata are those of the call.
        return Ok(if frame.ends_stream { Brought::End } else { Brought::Nothing });
    }
    if !frame.metadata.is_empty() || method(frame) != 0 {
        return Err(Broken::LateFields { id });
    }
    match frame.ends_stream {
        true => Ok(Brought::End),
        false => Err(Broken::EmptyPiece { id }),
    }
}

/// The method of a notification.
fn method(frame: &Frame) -> u32 {
    match frame.kind {
        Kind::Data { method } => method,
        _ => 0,
    }
}

impl Partial {
    fn add(&mut self, piece: &[u8], discards: bool) {
        self.have += piece.len();
        if !discards {
            // It grows with what has arrived, by doubling, and not over what was announced.
            let (len, needed) = (self.data.len(), self.data.len() + piece.len());
            if self.allocated < needed {
                self.allocated = (2 * self.allocated).min(self.total).max(needed);
                self.data.reserve_exact(self.allocated - len);
            }
            self.data.extend_from_slice(piece);
        }
    }
}
