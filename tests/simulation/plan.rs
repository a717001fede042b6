//! Random programs: what the clients do, what the handler makes of each request, and what goes wrong.

use std::fmt;
use std::time::Duration;

/// Random numbers of a seed (SplitMix64).
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// True once of so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

#[derive(Clone, Debug, Default)]
pub struct Program {
    pub seed: u64,
    /// What goes wrong by itself, each in 10,000.
    pub weather: Weather,
    pub how: How,
    pub room: Room,
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
        let Program { weather, how, room, when_full, clients, .. } = self;
        writeln!(f, "{how:?}, room {room:?}, policy {when_full}, {weather:?}")?;
        for (index, plan) in clients.iter().enumerate() {
            writeln!(f, "client {index}: {plan:?}")?;
        }
        self.steps.iter().try_for_each(|(actor, step)| writeln!(f, "  {actor:?}: {step:?}"))
    }
}

const MILLI: Duration = Duration::from_millis(1);
const TIMES: [Duration; 8] = [
    Duration::ZERO,
    Duration::from_micros(30),
    MILLI,
    Duration::from_millis(20),
    Duration::from_millis(150),
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(40),
];

/// What is known of the server when a step is made.
struct Server {
    how: How,
    room: Room,
    is_calm: bool,
    has_pieces: bool,
}

impl Program {
    pub fn new(seed: u64) -> Program {
        let c = &mut Chance(seed ^ 0x5EED_0000_0000);
        let is_calm = c.once_in(3);
        let weather = match is_calm {
            true => Weather::default(),
            false => Weather {
                resets: c.of(&[0, 0, 20, 200]),
                stalls: c.of(&[0, 0, 20, 200]),
                refusals: c.of(&[0, 0, 1000]),
                pieces: 0,
                is_busy: c.once_in(4),
            },
        };
        let weather = Weather { pieces: c.of(&[0, 0, 3000]), ..weather };
        let how = c.of(&[How::Tasks, How::Tasks, How::DropCancelled, How::AtOnce]);
        let room = c.of(&[Room::Enough, Room::Enough, Room::Tight, Room::Memory]);
        let plan = |c: &mut Chance| Plan { again: c.once_in(2), listens: c.once_in(2) };
        let clients: Vec<Plan> = (0..1 + c.below(3)).map(|_| plan(c)).collect();
        let count = 1 + c.below(24);
        let server = Server { how, room, is_calm, has_pieces: weather.pieces > 0 };
        let mut steps = Vec::new();
        for number in 0..count {
            let is_nature = c.once_in(4);
            let client = c.below(clients.len());
            steps.push(match is_nature {
                true => (Actor::Nature, nature(c, clients.len(), is_calm)),
                false => (Actor::Client(client), of_client(c, number, &server)),
            });
        }
        Program { seed, weather, how, room, when_full: c.below(3) as u8, clients, steps }
    }

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

fn largest(room: Room) -> usize {
    if room == Room::Memory { 64 << 10 } else { 4 << 20 }
}

fn size(c: &mut Chance, server: &Server) -> usize {
    let most = match c.below(16) {
        0..3 => 1,
        3..10 => 300,
        10..13 => 20_000,
        // Large ones in small pieces take long.
        _ if server.has_pieces => 70_000,
        13..15 => 100_000,
        _ => 700_000,
    };
    c.below(most).min(largest(server.room))
}

fn sizes(c: &mut Chance, server: &Server, most: usize) -> Vec<usize> {
    (0..c.below(most + 1)).map(|_| size(c, server)).collect()
}

fn nature(c: &mut Chance, clients: usize, is_calm: bool) -> Step {
    let client = c.below(clients);
    let hours = [MILLI, Duration::from_secs(1), Duration::from_secs(40), Duration::from_secs(7200)];
    match c.below(if is_calm { 6 } else { 14 }) {
        0 | 1 => Step::Pass(c.of(&TIMES)),
        2 => Step::Publish { count: 1 + c.below(20) as u32, size: c.below(40_000) },
        3 => Step::Publish { count: 1 + c.below(5) as u32, size: c.below(100) },
        4 => Step::Tell { count: 1 + c.below(12) as u32, size: c.below(3000) },
        5 => Step::CallClients { size: c.below(2000), time: c.of(&TIMES) },
        6 | 7 => Step::Cut(client),
        8 | 9 => Step::Stall(client, c.of(&TIMES)),
        10 => Step::Jump(c.of(&hours)),
        11 => Step::Stop(c.of(&TIMES)),
        12 => Step::Kill(c.of(&TIMES)),
        _ => Step::CloseClients,
    }
}

fn of_client(c: &mut Chance, number: usize, server: &Server) -> Step {
    match c.below(if server.is_calm { 18 } else { 20 }) {
        0 | 1 => Step::Pass(c.of(&TIMES)),
        2 | 3 => Step::Notify { count: 1 + c.below(12) as u32, size: c.below(2000) },
        4 | 5 => Step::Subscribe,
        18 => Step::Close,
        19 => Step::Die,
        _ => Step::Ask(ask(c, number, server)),
    }
}

fn ask(c: &mut Chance, number: usize, server: &Server) -> Ask {
    use Kind::*;
    let kind = c.of(&[Unary, Unary, Unary, Unary, Stream, Stream, Upload, Duplex]);
    let mut request = sizes(c, server, 4);
    request.push(size(c, server));
    let reply = match c.below(20) {
        0..5 => Reply::Body(size(c, server)),
        5..7 => Reply::Slow(c.of(&TIMES), size(c, server)),
        7..9 => Reply::Later(c.of(&TIMES), size(c, server)),
        9 => Reply::Error,
        10 => Reply::Panic,
        11 => Reply::Nothing,
        12..16 => {
            let end = c.of(&[End::Finish, End::Finish, End::Fail, End::GiveUp]);
            Reply::Parts(sizes(c, server, 5), c.of(&TIMES[..5]), end)
        }
        16 | 17 => Reply::Hold,
        18 => Reply::CallBack(size(c, server)),
        _ if server.is_calm => Reply::Body(1),
        _ => Reply::Close,
    };
    let taking = match c.below(10) {
        0..6 => Taking::Wait,
        6 | 7 => Taking::Within(c.of(&TIMES[..6])),
        8 => c.of(&[Taking::Cancel, Taking::Detach]),
        _ => Taking::Some(c.below(4)),
    };
    let deadline = if c.once_in(3) { Some(c.of(&TIMES)) } else { None };
    let takes = if c.once_in(3) { Some(c.below(4)) } else { None };
    let (finishes, beside, idempotent) = (!c.once_in(5), c.once_in(2), c.once_in(2));
    let mut ask =
        Ask { number, kind, request, finishes, takes, reply, taking, deadline, beside, idempotent };
    ask.fit(server.how);
    ask
}

impl Ask {
    /// As it is possible with this server, and so that it ends.
    fn fit(&mut self, how: How) {
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
            self.taking = Taking::Within(MILLI);
        }
        if self.is_one_message() {
            self.request.truncate(1);
        }
    }

    pub fn is_one_message(&self) -> bool {
        matches!(self.kind, Kind::Unary | Kind::Stream)
    }
}
