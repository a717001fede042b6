//! The server of a program: its handler does with each request what was planned, and checks what it is told.

use super::calling::call_back;
use super::case::{Case, DRAIN, Incarnation, NAME, fill, front, numbered};
use super::plan::{Ask, End, How, Reply, Step};
use super::signal::Signal;
use bytes::Bytes;
use msgpipe::memory::MemoryServer;
use msgpipe::tokio::Tasks;
use msgpipe::{
    ClientNotification, Error, ErrorReply, Goodbye, Interrupt, PartError, ReceiveError, Request,
    Responder, Server, bytes,
};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// The methods of calls that are none of the program's.
pub const SUBSCRIBE: u32 = 0xFFFF_F000;
pub const PING: u32 = 0xFFFF_F001;

/// Starts a server. `false`: there is one.
pub fn start(case: &Arc<Case>) -> bool {
    let limits = case.limits();
    let server = match case.world.server(NAME, limits) {
        Ok(server) => server,
        Err(Error::AlreadyServed { .. }) => return false,
        Err(error) => {
            case.is_wrong(format!("a server cannot begin: {error}"));
            return true;
        }
    };
    let heard = case.clone();
    let server = server.on_notification(move |it| hears(&heard, &it));
    let (stopper, connections, counters) =
        (server.stopper(), server.connections(), server.counters());
    let (ended, serving) = (Signal::default(), serve(case.clone(), server));
    let tells = Tells(ended.clone());
    let task = Arc::new(case.world.spawn(async move {
        let _tells = tells;
        serving.await
    }));
    let number = case.incarnations.fetch_add(1, SeqCst);
    let told = Arc::default();
    let incarnation = Incarnation { number, stopper, connections, counters, task, ended, told };
    *case.server.lock().unwrap() = Some(incarnation);
    true
}

/// Tells when it is dropped.
struct Tells(Signal);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.give(());
    }
}

async fn serve(case: Arc<Case>, server: Server<MemoryServer>) -> Result<(), Error> {
    let world = case.world;
    let tasks = match case.program.how {
        How::AtOnce => return world.serve(server, move |request| at_once(&case, request)).await,
        How::Tasks => Tasks::new(),
        How::DropCancelled => Tasks::new().drop_cancelled(),
    };
    let handler = move |request, responder| handle(case.clone(), request, responder);
    server.accept_streams().serve_tasks_deferred(tasks, handler).await
}

/// Stops the server, or kills it. Another one begins after so long.
pub fn end(case: &Arc<Case>, is_kill: bool, restart: Option<Duration>) {
    let Some(incarnation) = case.server.lock().unwrap().take() else { return };
    let case = case.clone();
    let world = case.world;
    let watched = case.clone();
    let until = world.now() + DRAIN;
    if is_kill {
        if world.random(2) == 0 {
            world.connections(NAME).iter().for_each(|connection| connection.reset());
        }
        incarnation.task.abort();
    } else {
        case.stops.lock().unwrap().push(world.now());
        incarnation.stopper.stop();
    }
    world.spawn(async move { incarnation.ends(&watched, is_kill, until).await });
    if let Some(after) = restart {
        world.spawn(async move {
            world.pass(after).await;
            // One that is to stop has its name until it runs again.
            while !start(&case) {
                world.pass(Duration::from_millis(1)).await;
            }
        });
    }
}

/// All calls have ended, so all handlers know it.
pub fn are_told(case: &Case) {
    let holding = case.holding.load(SeqCst);
    if holding > 0 {
        case.is_wrong(format!("{holding} handlers were not told that nobody waits for them"));
    }
}

impl Incarnation {
    /// All clients have gone, also from the server's view: nothing is held for them, and all handlers are told.
    pub fn is_alone(&self, case: &Case) {
        let counts = self.counters.read();
        if counts.clients() + counts.requests.open() + counts.calls.open() > 0 || counts.memory > 0
        {
            case.is_wrong(format!("without clients the server has {counts:?}"));
        }
        are_told(case);
    }

    /// Waits for its end, and checks what is left.
    async fn ends(self, case: &Case, is_kill: bool, until: Instant) {
        if case.world.within(case.longest(), self.ended.taken()).await.is_none() {
            return case.is_wrong("a server that was stopped goes on");
        }
        if !is_kill {
            // The clock may be moved before it sees that it is to stop.
            let is_moved = case.program.has(|step| matches!(step, Step::Jump(_)));
            let slack = if is_moved { DRAIN } else { Duration::ZERO };
            case.check_time("the drain", until, slack + Duration::from_millis(1));
        }
        let counts = self.counters.read();
        if counts.memory > 0 {
            case.is_wrong(format!("{} bytes are left in the account", counts.memory));
        }
        let (requests, calls) = (counts.requests, counts.calls);
        if requests.open() + calls.open() > 0 || counts.connected != counts.closed {
            case.is_wrong(format!("not all that has begun has ended: {counts:?}"));
        }
        if requests.ended() > requests.begun || calls.ended() > calls.begun {
            case.is_wrong(format!("more has ended than has begun: {counts:?}"));
        }
        if self.connections.count() > 0 {
            case.is_wrong("connections are left");
        }
    }
}

/// A notification of a client: the next one of its connection.
fn hears(case: &Case, it: &ClientNotification) {
    let mut connections = case.connections.lock().unwrap();
    let Some(connection) = connections.get_mut(it.method() as usize) else {
        return case.is_wrong("a notification of nobody");
    };
    let (next, body) = (connection.heard, it.body());
    connection.heard += 1;
    drop(connections);
    if body != numbered(next, body.len().saturating_sub(4), it.method() as usize) {
        case.is_wrong(format!("notification {} in the place of {next}", front(&body)));
    }
}

/// A request begins.
fn begin(case: &Case, request: &Request) -> Ask {
    let number = request.method() as usize - 1;
    let mut asked = case.asked(number);
    asked.begun += 1;
    let (begun, connection, ask) = (asked.begun, asked.connection, asked.ask.clone());
    drop(asked);
    if begun > 1 && !ask.idempotent {
        case.is_wrong_of(number, "it was begun twice");
    }
    if let Some(connection) = connection {
        case.connections.lock().unwrap()[connection].begun.push(number);
    }
    if !request.is_stream() && request.body() != fill(ask.request[0], number, 0) {
        case.is_wrong_of(number, "its body is another");
    }
    ask
}

fn planned_error(ask: &Ask) -> ErrorReply {
    ErrorReply::new(300, format!("error of {}", ask.number))
}

/// A handler that replies at once.
fn at_once(case: &Arc<Case>, request: Request) -> Result<Bytes, ErrorReply> {
    if request.method() >= SUBSCRIBE {
        return Ok("pong".into());
    }
    let ask = begin(case, &request);
    match &ask.reply {
        Reply::Error => return Err(planned_error(&ask)),
        Reply::Panic | Reply::Nothing => resume_unwind(Box::new("planned")),
        Reply::Close => request.connection().close(Goodbye::new(200, "the program says so")),
        _ => {}
    }
    Ok(ask.part(0).unwrap_or_default())
}

async fn handle(case: Arc<Case>, mut request: Request, responder: Responder) {
    match request.method() {
        PING => return responder.reply("pong"),
        SUBSCRIBE => return case.topic.subscribe(responder),
        _ => {}
    }
    let (ask, world) = (begin(&case, &request), case.world);
    let number = ask.number;
    if request.is_stream() {
        take(&case, &ask, &mut request).await;
    }
    match &ask.reply {
        Reply::Body(size) => responder.reply(fill(*size, number, 0)),
        Reply::Slow(time, size) => {
            world.pass(*time).await;
            responder.reply(fill(*size, number, 0));
        }
        Reply::Later(time, size) => {
            let (time, reply) = (*time, fill(*size, number, 0));
            world.spawn(async move {
                world.pass(time).await;
                responder.reply(reply);
            });
        }
        Reply::Error => responder.reply(Err::<Bytes, _>(planned_error(&ask))),
        Reply::Panic => resume_unwind(Box::new("planned")),
        Reply::Nothing => drop(responder),
        Reply::Parts(sizes, pause, end) => {
            let mut parts = responder.into_parts();
            for (at, size) in sizes.iter().enumerate() {
                match parts.send_async(fill(*size, number, at)).await {
                    Ok(()) => world.pass(*pause).await,
                    Err(PartError::Cancelled) => return,
                    Err(error) => case.is_wrong_of(number, format!("part {at}: {error}")),
                }
            }
            match end {
                End::Finish => parts.finish(),
                End::Fail => parts.fail(ErrorReply::new(600, "after all parts")),
                End::GiveUp => drop(parts),
            }
        }
        Reply::Hold => hold(&case, number, responder).await,
        Reply::CallBack(size) => call_back(&case, number, *size, &request, responder).await,
        Reply::Close => {
            request.connection().close(Goodbye::new(200, "the program says so"));
            responder.reply("closed");
        }
    }
}

/// While it lives, a handler waits to be told.
struct Holds(Arc<Case>);

impl Holds {
    fn new(case: &Arc<Case>) -> Holds {
        case.holding.fetch_add(1, SeqCst);
        Holds(case.clone())
    }
}

impl Drop for Holds {
    fn drop(&mut self) {
        self.0.holding.fetch_sub(1, SeqCst);
    }
}

/// Waits until the handler is told why nobody waits any more.
async fn hold(case: &Arc<Case>, number: usize, responder: Responder) {
    let told = Signal::default();
    let _holds = Holds::new(case);
    let (tells, its, mut is_over) = (told.clone(), case.clone(), false);
    let held_from = case.world.now();
    responder.on_interrupt(move |why| {
        if is_over {
            its.is_wrong_of(number, format!("told after the end: {why:?}"));
        }
        if why != Interrupt::Stopping {
            its.check_told(number, held_from);
            is_over = true;
        }
        tells.give(());
    });
    told.taken().await;
}

/// Takes the parts of a request.
async fn take(case: &Case, ask: &Ask, request: &mut Request) {
    let mut parts = request.take_parts();
    let number = ask.number;
    for at in 0.. {
        if ask.takes.is_some_and(|most| at >= most) {
            case.asked(number).is_left = true;
            return;
        }
        match parts.next_async().await {
            Ok(Some(part)) => {
                if ask.request.get(at).map(|size| fill(*size, number, at)) != Some(part) {
                    case.is_wrong_of(number, format!("part {at} of its request is another"));
                }
            }
            Ok(None) => {
                let asked = case.asked(number);
                let is_complete = asked.is_finished && at == asked.given;
                drop(asked);
                if !is_complete {
                    case.is_wrong_of(number, format!("complete after {at} parts"));
                }
                return;
            }
            Err(ReceiveError::Cancelled | ReceiveError::Incomplete) => {
                let has_given_up = case.asked(number).has_given_up;
                let has_time = ask.deadline.is_none() && case.program.how == How::Tasks;
                if !has_given_up && !case.is_rough && ask.finishes && has_time {
                    case.is_wrong_of(number, "its request has ended early");
                }
                return;
            }
            Err(error) => return case.is_wrong_of(number, format!("its request: {error}")),
        }
    }
}
