//! One side's view of one call: what it means to do, what it did, what it was told.

use crate::error::ErrorReply;
use crate::exchange::machine::Machine;
use bytes::Bytes;

/// 0 client, 1 server.
pub type Side2 = usize;

/// A call that one side makes, and how the other answers it.
#[derive(Clone, Debug, Hash)]
pub struct Plan {
    /// The sizes of the messages of the request and of the reply.
    pub request: Vec<usize>,
    pub reply: Vec<usize>,
    /// The request is opened without a message.
    pub bare: bool,
    /// Both directions end without a message that says so.
    pub bare_end: bool,
    /// The reply ends with an error.
    pub fails: bool,
    pub deadline: bool,
    /// Its messages are sent at once, if they can be.
    pub now: bool,
}

impl Plan {
    /// One request, one reply.
    pub fn unary(request: usize, reply: usize) -> Plan {
        Plan::streams(vec![request], vec![reply])
    }

    pub fn streams(request: Vec<usize>, reply: Vec<usize>) -> Plan {
        Plan {
            request,
            reply,
            bare: false,
            bare_end: false,
            fails: false,
            deadline: false,
            now: true,
        }
    }
}

/// What a side has done with its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Close {
    Open,
    Ended,
    Failed,
    /// It gave up, or may say no more.
    Broken,
}

#[derive(Clone, Debug, Hash)]
pub struct App {
    pub is_own: bool,
    pub planned: Vec<usize>,
    pub fails: bool,
    pub bare_end: bool,
    reply: Vec<usize>,
    reply_fails: bool,
    reply_bare_end: bool,
    pub deadline: Option<()>,
    pub now: bool,
    /// The sizes of the messages that were queued.
    pub sent: Vec<usize>,
    pub close: Close,
    /// It gave up before its end.
    pub broke: bool,
    /// The number of messages that it was told of.
    pub heard: usize,
    /// The other direction is over.
    pub over: bool,
    pub stops: bool,
    pub cancelled: bool,
    pub told_cancel: bool,
    pub released: bool,
    pub withdrawn: bool,
    /// A frame of it has been sent.
    pub sent_some: bool,
}

impl App {
    pub fn of_plan(plan: &Plan) -> App {
        App {
            is_own: true,
            planned: plan.request.clone(),
            fails: false,
            bare_end: plan.bare_end,
            reply: plan.reply.clone(),
            reply_fails: plan.fails,
            reply_bare_end: plan.bare_end,
            deadline: plan.deadline.then_some(()),
            now: plan.now,
            sent: Vec::new(),
            close: Close::Open,
            broke: false,
            heard: 0,
            over: false,
            stops: false,
            cancelled: false,
            told_cancel: false,
            released: false,
            withdrawn: false,
            sent_some: false,
        }
    }

    /// The view of the side that is called.
    pub fn of_reply(caller: &App) -> App {
        let mut app = App::of_plan(&Plan::streams(caller.reply.clone(), Vec::new()));
        app.is_own = false;
        (app.fails, app.bare_end) = (caller.reply_fails, caller.reply_bare_end);
        (app.deadline, app.now) = (caller.deadline, caller.now);
        app
    }

    /// It answers a call of one message with one.
    pub fn answers_now(&self) -> bool {
        let is_unary = self.planned.len() == 1 && self.sent.is_empty();
        self.now && !self.is_own && self.over && is_unary && !self.fails && !self.bare_end
    }

    pub fn may_go_on(&self) -> bool {
        self.close == Close::Open && !self.released
    }

    /// It says no more, and what it queued may be lost.
    pub fn gives_up(&mut self) {
        self.broke = true;
        if self.close == Close::Open {
            self.close = Close::Broken;
        }
    }

    pub fn is_over_time(&self, late: bool) -> bool {
        late && self.deadline.is_some()
    }

    pub fn is_done(&self) -> bool {
        self.over && self.close != Close::Open && !self.released
    }

    pub fn release(&mut self, machine: &mut Machine<()>, id: u32) {
        if !self.over || self.close == Close::Open {
            self.broke = true;
        }
        self.released = true;
        assert_eq!(machine.release(id), Some(()), "call {id} was released before");
    }

    /// A message of the other side has arrived.
    pub fn hears(&mut self, id: u32, from: Side2, bytes: &Bytes, sender: &App) {
        assert!(!self.released && !self.over && !self.stops, "call {id}: a message after the end");
        let size = *sender.sent.get(self.heard).expect("nobody sent it");
        assert_eq!(*bytes, body(id, from, self.heard, size), "call {id}: another message");
        self.heard += 1;
    }

    /// The other side's direction has ended in order.
    pub fn hears_end(&mut self, sender: &App) {
        assert!(!self.over, "it ends twice");
        assert!(
            matches!(sender.close, Close::Ended) || sender.broke,
            "nobody ended it: {sender:?}"
        );
        assert!(self.heard == sender.sent.len() || self.stops, "messages before the end are lost");
        self.over = true;
    }
}

/// The error with which the applications fail.
pub fn error() -> ErrorReply {
    ErrorReply::new(404, "no such note")
}

/// The bytes of a message: each is different.
pub fn body(id: u32, side: Side2, at: usize, size: usize) -> Bytes {
    let first = id.wrapping_mul(31).wrapping_add(side as u32 * 101 + at as u32 * 7);
    (0..size).map(|byte| (first as usize + byte) as u8).collect::<Vec<u8>>().into()
}
