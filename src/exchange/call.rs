//! The state of one call.

use super::incoming::Incoming;
use super::outgoing::Outgoing;
use std::time::Instant;

/// Control frames that a call has to send. They need no credit and go before messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Urgent {
    /// This side takes no more.
    pub stop: bool,
    /// A grant of credit is due. Its limit is read when it is sent.
    pub credit: bool,
    /// There is room for the message that was announced.
    pub admit: bool,
    /// This side does not need its call any more.
    pub cancel: bool,
    /// This side's direction ends, incomplete, with this code.
    pub abort: Option<u16>,
    /// Only the end of this side's direction is left.
    pub end: bool,
}

impl Urgent {
    pub fn is_empty(self) -> bool {
        self == Urgent::default()
    }
}

/// In which list of the schedule the call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Nowhere,
    /// It may send.
    Ready,
    /// Its next message waits for credit of the connection.
    Waiting,
}

/// A call. `T` is what the side that drives the machine keeps for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Call<T> {
    pub owner: Option<T>,
    /// Nothing more of it is reported.
    pub silent: bool,
    /// The application is done with it: its entry goes when both directions have ended.
    pub released: bool,
    pub outgoing: Outgoing,
    pub incoming: Incoming,
    pub deadline: Option<Instant>,
    pub urgent: Urgent,
    /// It is in the list of calls with control frames.
    pub in_urgent: bool,
    pub place: Place,
    /// The method of a peer's call that has not been reported, as its first message is not whole.
    pub opening: Option<u32>,
    /// It is this side's own, and its request was sent.
    pub is_sent: bool,
    /// It counts as open.
    pub is_counted: bool,
    /// It is the peer's, and was not begun: it is in the table only until the peer has ended its direction.
    pub is_refused: bool,
    /// More was queued than a call may queue: `Drained` is owed.
    pub is_full: bool,
}

impl<T> Call<T> {
    pub fn new(owner: Option<T>, outgoing: Outgoing, incoming: Incoming) -> Call<T> {
        Call {
            owner,
            silent: false,
            released: false,
            outgoing,
            incoming,
            deadline: None,
            urgent: Urgent::default(),
            in_urgent: false,
            place: Place::Nowhere,
            opening: None,
            is_sent: false,
            is_counted: true,
            is_refused: false,
            is_full: false,
        }
    }

    /// The bytes that are held: of an incomplete message, and of messages that wait to be sent.
    pub fn held(&self) -> usize {
        self.incoming.held() + self.outgoing.queued()
    }

    /// Both directions have ended on the wire.
    pub fn is_closed(&self) -> bool {
        self.outgoing.ended && self.incoming.ended
    }

    /// It is this side's own, and nothing of it has been sent.
    pub fn is_unsent(&self) -> bool {
        self.outgoing.request.is_some()
    }
}
