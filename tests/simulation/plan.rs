//! Random programs: what the clients do, what the handler makes of each request, and what goes wrong.

use std::fmt;
use std::time::Duration;

#[derive(Clone, Debug, Default)]
pub struct Program {
    pub seed: u64,
    /// What goes wrong by itself, each in 10,000.
    pub weather: Weather,
    pub how: How,
    pub room: Room,
    /// How many calls may be in flight where there is not enough room.
    pub in_flight: usize,
    /// Which policy the topic has.
    pub when_full: u8,
    pub clients: Vec<Plan>,
    pub steps: Vec<(Actor, Step)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    pub resets: u32,
    pub stalls: u32,
    pub refusals: u32,
    pub pieces: u32,
    pub is_busy: bool,
}

/// Which function the server serves with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum How {
    #[default]
    Tasks,
    /// Handlers of calls that are over are dropped.
    DropCancelled,
    AtOnce,
}

/// How much room the limits leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Room {
    #[default]
    Enough,
    /// Small windows and queues, and few calls in flight.
    Tight,
    /// And memory for some messages only.
    Memory,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// It connects again.
    pub again: bool,
    pub listens: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    Client(usize),
    /// The machine, the operator, and the application of the server.
    Nature,
}

#[derive(Clone, Debug)]
pub enum Step {
    Ask(Ask),
    Notify {
        count: u32,
        size: usize,
    },
    Pass(Duration),
    /// Closes the connection.
    Close,
    /// The process of the client is killed; another one begins.
    Die,
    Subscribe,
    /// The connections of a client are reset, or stalled for so long.
    Cut(usize),
    Stall(usize, Duration),
    Jump(Duration),
    Publish {
        count: u32,
        size: usize,
    },
    /// The server stops or is killed, and another one begins after so long.
    Stop(Duration),
    Kill(Duration),
    Tell {
        count: u32,
        size: usize,
    },
    CallClients {
        size: usize,
        time: Duration,
    },
    CloseClients,
}

/// A call: what is asked, how it is answered, and how the answer is taken.
#[derive(Clone, Debug)]
pub struct Ask {
    /// No other has it.
    pub number: usize,
    pub kind: Kind,
    /// The sizes of the parts of the request. One of one message has the first.
    pub request: Vec<usize>,
    /// The client ends its parts; otherwise it drops them.
    pub finishes: bool,
    /// How many parts of the request the handler takes; `None`: all.
    pub takes: Option<usize>,
    pub reply: Reply,
    pub taking: Taking,
    pub deadline: Option<Duration>,
    /// The actor does not wait for it.
    pub beside: bool,
    /// It may be sent again.
    pub idempotent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Unary,
    Stream,
    Upload,
    Duplex,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Body(usize),
    /// After so long, by the handler, or by somebody else to whom it has given its responder.
    Slow(Duration, usize),
    Later(Duration, usize),
    Error,
    Panic,
    /// The responder is dropped.
    Nothing,
    Parts(Vec<usize>, Duration, End),
    /// None, until the handler is told why.
    Hold,
    /// What the client answers to a call of the server comes first.
    CallBack(usize),
    /// The handler closes the connection.
    Close,
}

/// How a reply of parts ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Finish,
    Fail,
    GiveUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    Wait,
    /// So long; then it is dropped.
    Within(Duration),
    Cancel,
    Detach,
    /// So many parts of a stream; then it is dropped.
    Some(usize),
}

/// One step in a line.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Program { weather, how, room, in_flight, when_full, clients, .. } = self;
        writeln!(f, "{how:?}, room {room:?}, {in_flight} calls, policy {when_full}, {weather:?}")?;
        for (index, plan) in clients.iter().enumerate() {
            writeln!(f, "client {index}: {plan:?}")?;
        }
        self.steps.iter().try_for_each(|(actor, step)| writeln!(f, "  {actor:?}: {step:?}"))
    }
}

impl Program {
    /// Whether a connection may end, or no server be there.
    pub fn is_rough(&self) -> bool {
        let Weather { resets, stalls, refusals, .. } = self.weather;
        let ends = |step: &Step| match step {
            Step::Ask(ask) => ask.reply == Reply::Close,
            Step::Close | Step::Die | Step::Cut(_) | Step::Stall(..) | Step::Jump(_) => true,
            Step::Stop(_) | Step::Kill(_) | Step::CloseClients => true,
            _ => false,
        };
        let is_memory = self.room == Room::Memory;
        resets + stalls + refusals > 0 || is_memory || self.steps.iter().any(|(_, it)| ends(it))
    }

    pub fn has(&self, what: impl Fn(&Step) -> bool) -> bool {
        self.steps.iter().any(|(_, step)| what(step))
    }

    /// The largest message.
    pub fn largest(&self) -> usize {
        largest(self.room)
    }

    /// The numbers that calls have are below this.
    pub fn numbers(&self) -> usize {
        let number = |step: &Step| match step {
            Step::Ask(ask) => ask.number + 1,
            _ => 0,
        };
        self.steps.iter().map(|(_, step)| number(step)).max().unwrap_or(0)
    }
}

pub fn largest(room: Room) -> usize {
    if room == Room::Memory { 64 << 10 } else { 4 << 20 }
}

impl Ask {
    /// As it is possible with this server, and so that it ends.
    pub fn fit(&mut self, how: How) {
        let can_be_at_once = matches!(
            self.reply,
            Reply::Body(_) | Reply::Error | Reply::Panic | Reply::Nothing | Reply::Close
        );
        if how == How::AtOnce && !can_be_at_once {
            self.reply = Reply::Body(3);
        }
        let is_stream = matches!(self.kind, Kind::Stream | Kind::Duplex);
        // Other calls have a deadline that ends them.
        if self.reply == Reply::Hold && is_stream && !matches!(self.taking, Taking::Within(_)) {
            self.taking = Taking::Within(Duration::from_millis(1));
        }
        if self.is_one_message() {
            self.request.truncate(1);
        }
    }

    pub fn is_one_message(&self) -> bool {
        matches!(self.kind, Kind::Unary | Kind::Stream)
    }
}
