//! Random programs: what the clients do, and what the handler makes of each request.

use proptest::prelude::*;
use std::fmt;
use std::time::Duration;

/// A server, its clients, and what they do.
#[derive(Clone, Debug)]
pub struct Program {
    pub how: How,
    /// Small windows and queues, and few calls in flight.
    pub is_tight: bool,
    pub clients: Vec<Plan>,
}

/// Which function the server serves with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    AtOnce,
    Deferred,
    Workers,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub listens: Listens,
    /// What each of its threads does, one after the other.
    pub threads: Vec<Vec<Act>>,
}

/// How a client takes what the server sends unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listens {
    Not,
    OnAThread,
    /// Its first thread looks after each act.
    BetweenActs,
}

#[derive(Clone, Debug)]
pub enum Act {
    Ask(Ask),
    Batch(Vec<Ask>),
    Notify { count: u32, size: usize },
    Publish(u32),
    CloseClient,
    Stop,
}

/// A call: what is asked, how it is answered, and how the answer is taken.
#[derive(Clone, Debug)]
pub struct Ask {
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
    pub has_metadata: bool,
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
    Error {
        details: usize,
    },
    Panic,
    /// The responder is dropped.
    Nothing,
    Parts(Vec<usize>, End),
    /// None, until the handler is told why.
    Hold,
    /// What the client answers to a call of the server comes first.
    CallBack(usize, Way),
    Notify {
        count: u32,
        size: usize,
    },
    /// The handler closes the connection.
    Close,
    Subscribe,
}

/// How a reply of parts ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Finish,
    Fail,
    GiveUp,
    Panic,
}

/// How the server waits for its call to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Call,
    Start,
    Then,
    /// It does not.
    Drop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    Wait,
    Within,
    Try,
    /// With others, by `wait_any`.
    Any,
    /// After all other acts of its thread.
    Later,
    /// As bytes, of a stream.
    Read,
    /// So many parts of a stream; then it is dropped.
    Some(usize),
    Cancel,
    Drop,
    Detach,
}

/// One act in a line.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}{}", self.how, if self.is_tight { ", tight" } else { "" })?;
        for (client, plan) in self.clients.iter().enumerate() {
            writeln!(f, "client {client}, listens {:?}", plan.listens)?;
            for (thread, acts) in plan.threads.iter().enumerate() {
                writeln!(f, "  thread {thread}")?;
                acts.iter().try_for_each(|act| writeln!(f, "    {act:?}"))?;
            }
        }
        Ok(())
    }
}

impl Ask {
    /// As it is possible with this server, and so that it ends.
    pub fn fitting(mut self, how: How) -> Ask {
        let has_parts = matches!(self.kind, Kind::Stream | Kind::Duplex);
        let blocks = match &self.reply {
            Reply::Parts(..) | Reply::Hold | Reply::Subscribe => true,
            Reply::CallBack(_, way) => *way != Way::Drop,
            _ => false,
        };
        if how == How::AtOnce && blocks || self.reply == Reply::Subscribe && !has_parts {
            self.reply = Reply::Body(3);
        }
        if self.reply == Reply::Hold {
            match self.taking {
                Taking::Cancel | Taking::Drop => {}
                _ if has_parts => self.taking = Taking::Drop,
                _ => self.deadline = self.deadline.or(Some(Duration::from_millis(5))),
            }
        }
        self.request.truncate(if self.is_one_message() { 1 } else { usize::MAX });
        self
    }

    pub fn is_one_message(&self) -> bool {
        matches!(self.kind, Kind::Unary | Kind::Stream)
    }
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => Just(0_usize),
        8 => 1..300_usize,
        4 => 300..20_000_usize,
        2 => 20_000..200_000_usize,
        1 => (1 << 20) - 3..(1 << 20) + 200_000_usize,
    ]
}

fn parts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(sizes(), 0..6)
}

fn replies() -> impl Strategy<Value = Reply> {
    let ends =
        prop::sample::select(vec![End::Finish, End::Finish, End::Fail, End::GiveUp, End::Panic]);
    let ways = prop::sample::select(vec![Way::Call, Way::Start, Way::Then, Way::Drop]);
    prop_oneof![
        8 => sizes().prop_map(Reply::Body),
        2 => (0..2000_usize).prop_map(|details| Reply::Error { details }),
        1 => Just(Reply::Panic),
        1 => Just(Reply::Nothing),
        6 => (parts(), ends).prop_map(|(sizes, end)| Reply::Parts(sizes, end)),
        2 => Just(Reply::Hold),
        3 => (sizes(), ways).prop_map(|(size, way)| Reply::CallBack(size, way)),
        2 => (1..8_u32, 0..1000_usize).prop_map(|(count, size)| Reply::Notify { count, size }),
        1 => Just(Reply::Subscribe),
    ]
}

fn takings() -> impl Strategy<Value = Taking> {
    use Taking::*;
    let plain =
        prop::sample::select(vec![Wait, Wait, Within, Try, Any, Later, Read, Cancel, Drop, Detach]);
    prop_oneof![9 => plain, 1 => (0..4_usize).prop_map(Taking::Some)]
}

fn asks() -> impl Strategy<Value = Ask> {
    use Kind::*;
    let kinds = prop::sample::select(vec![Unary, Unary, Unary, Stream, Stream, Upload, Duplex]);
    let request = (prop::collection::vec(sizes(), 1..5), prop::bool::weighted(0.8));
    let takes = prop::option::weighted(0.3, 0..4_usize);
    let deadline = prop::option::weighted(0.1, (0..4_u64).prop_map(Duration::from_millis));
    let rest = (replies(), takings(), deadline, prop::bool::weighted(0.3));
    (kinds, request, takes, rest).prop_map(|(kind, (request, finishes), takes, rest)| {
        let (reply, taking, deadline, has_metadata) = rest;
        Ask { kind, request, finishes, takes, reply, taking, deadline, has_metadata }
    })
}

fn acts() -> impl Strategy<Value = Act> {
    let batch = prop::collection::vec(asks(), 1..6).prop_map(|asks| {
        // The number of each is in the first bytes of its body.
        // They have one deadline.
        let of_a_batch = |ask: Ask| Ask {
            kind: Kind::Unary,
            reply: if ask.reply == Reply::Hold { Reply::Nothing } else { ask.reply },
            request: vec![ask.request[0] + 4],
            deadline: None,
            has_metadata: false,
            ..ask
        };
        Act::Batch(asks.into_iter().map(of_a_batch).collect())
    });
    prop_oneof![
        40 => asks().prop_map(Act::Ask),
        6 => batch,
        6 => (1..20_u32, 0..2000_usize).prop_map(|(count, size)| Act::Notify { count, size }),
        3 => (1..20_u32).prop_map(Act::Publish),
        1 => asks().prop_map(|ask| Act::Ask(Ask { reply: Reply::Close, ..ask })),
        1 => Just(Act::CloseClient),
        1 => Just(Act::Stop),
    ]
}

pub fn programs() -> impl Strategy<Value = Program> {
    let listens = vec![Listens::Not, Listens::OnAThread, Listens::BetweenActs];
    let threads = prop::collection::vec(prop::collection::vec(acts(), 0..8), 1..4);
    let plan = (prop::sample::select(listens), threads);
    let plan = plan.prop_map(|(listens, threads)| Plan { listens, threads });
    let how = prop::sample::select(vec![How::AtOnce, How::Deferred, How::Workers]);
    let is_tight = prop::bool::weighted(0.3);
    (how, is_tight, prop::collection::vec(plan, 1..4))
        .prop_map(|(how, is_tight, clients)| Program { how, is_tight, clients })
}
