//! The server of a program: its handler does with each request what was planned, and checks what it is told.

use super::calling_back::call_back;
use super::plan::{Ask, End, How, Kind, Reply, Way};
use super::transport::Watched;
use super::world::{PATIENCE, SETTLE, World, fill, front, metadata, numbered, planned_panic};
use bytes::Bytes;
use msgpipe::{
    ClientNotification, CloseReason, Connection, Error, ErrorReply, Goodbye, Interrupt, PartError,
    ReceiveError, Request, Responder, Server, Workers,
};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, mpsc};

/// More than handlers can be held at once by parts that nobody takes yet: one for each thread of the clients.
const WORKERS: usize = 12;

/// Serves until it is stopped.
pub fn serve(world: &Arc<World>, server: Server<Watched>) -> Result<(), Error> {
    let (notified, closed) = (world.clone(), world.clone());
    let server = server
        .on_notification(move |it| arrives(&notified, &it))
        .on_closed(move |connection, why| is_closed(&closed, connection, why));
    let world = world.clone();
    match world.how {
        How::AtOnce => server.serve(move |request| at_once(&world, request)),
        How::Deferred => server
            .accept_streams()
            .serve_deferred(move |request, responder| deferred(&world, request, responder)),
        How::Workers => {
            let queue = if world.is_tight { 2 } else { 128 };
            let workers = Workers::new().threads(WORKERS).queue(queue);
            let handler = move |request: Request, responder: Responder| {
                if let Some(number) = begin(&world, &request) {
                    answer(&world, number, request, responder);
                } else {
                    responder.reply(());
                }
            };
            server.accept_streams().serve_workers_deferred(workers, handler)
        }
    }
}

fn is_closed(world: &World, connection: &Connection, why: &CloseReason) {
    let id = Some(connection.id().number());
    for (client, side) in world.clients.iter().enumerate() {
        if *side.connection.lock().unwrap() != id {
            continue;
        }
        if side.was_closed.fetch_add(1, SeqCst) > 0 || !world.may_close(client) {
            world.is_wrong(format!("client {client} has gone: {why}"));
        }
    }
}

/// A notification of a client: the next one of its thread, on its connection.
fn arrives(world: &World, it: &ClientNotification) {
    let (client, thread) = (it.method() as usize / 8, it.method() as usize % 8);
    let arrived = &world.clients[client].notified[thread][1];
    let (next, body) = (arrived.load(SeqCst), it.body());
    if body != numbered(next, body.len().saturating_sub(4), client) {
        world.is_wrong(format!(
            "client {client}, thread {thread}: notification {} for {next}",
            front(&body)
        ));
    }
    is_its_own(world, client, it.connection());
    arrived.store(next + 1, SeqCst);
}

/// All of a client comes on one connection.
fn is_its_own(world: &World, client: usize, connection: &Connection) {
    let mut own = world.clients[client].connection.lock().unwrap();
    if *own.get_or_insert(connection.id().number()) != connection.id().number() {
        world.is_wrong(format!("client {client} on {} too", connection.id()));
    }
}

/// The number of a request that begins.
fn begin(world: &World, request: &Request) -> Option<usize> {
    if request.method() == SETTLE {
        return None;
    }
    let mut number = request.method() as usize - 1;
    if world.asked[number].is_in_batch {
        number += front(&request.body()) as usize;
    }
    let asked = &world.asked[number];
    if asked.begun.fetch_add(1, SeqCst) > 0 {
        world.is_wrong_of(number, "it was begun twice");
    }
    let said = request.metadata().get(b"number");
    if said != metadata(number).get(b"number").filter(|_| asked.ask.has_metadata) {
        world.is_wrong_of(number, format!("metadata {said:?}"));
    }
    let has_deadline = request.deadline().is_some();
    if asked.ask.is_one_message() && has_deadline != (asked.ask.kind == Kind::Unary) {
        world.is_wrong_of(number, "another deadline");
    }
    is_its_own(world, asked.client, &request.connection());
    Some(number)
}

fn error(number: usize, details: usize) -> ErrorReply {
    ErrorReply::new(300, format!("error of {number}")).with_details(fill(details, number, 0))
}

/// A handler that replies at once.
fn at_once(world: &Arc<World>, request: Request) -> Result<Bytes, ErrorReply> {
    let Some(number) = begin(world, &request) else { return Ok(Bytes::new()) };
    let asked = &world.asked[number];
    let connection = request.connection();
    take(world, number, request);
    match &asked.ask.reply {
        Reply::Error { details } => return Err(error(number, *details)),
        Reply::Panic | Reply::Nothing => planned_panic(),
        reply => unasked(world, number, &connection, reply, true),
    }
    Ok(asked.reply(number).swap_remove(0))
}

/// What the server sends beside the reply.
fn unasked(
    world: &Arc<World>,
    number: usize,
    connection: &Connection,
    reply: &Reply,
    is_on_loop: bool,
) {
    let asked = &world.asked[number];
    match reply {
        Reply::Close => {
            world.closes(asked.client);
            connection.close(Goodbye::new(200, "the program says so"));
        }
        Reply::Notify { count, size } => {
            let connection = connection.with_method(number as u32 + 1);
            for at in 0..*count {
                let body = numbered(at, *size, number);
                let sent = match is_on_loop {
                    true => connection.try_notify(body),
                    false => connection.notify(body),
                };
                match sent {
                    Ok(()) => asked.sent.fetch_add(1, SeqCst),
                    Err(PartError::Full(_)) if is_on_loop => return,
                    Err(PartError::Cancelled) if world.may_close(asked.client) => return,
                    Err(why) => return world.is_wrong_of(number, why),
                };
            }
        }
        Reply::CallBack(size, Way::Drop) => {
            drop(connection.with_method(number as u32 + 1).start(fill(*size, number, 9)));
        }
        _ => {}
    }
}

/// A handler that replies in the loop, or from a thread of its own.
fn deferred(world: &Arc<World>, request: Request, responder: Responder) {
    let Some(number) = begin(world, &request) else { return responder.reply(()) };
    let blocks = match &world.asked[number].ask.reply {
        Reply::Parts(..) | Reply::Hold | Reply::CallBack(_, Way::Call | Way::Start) => true,
        Reply::Panic | Reply::CallBack(..) | Reply::Subscribe => false,
        _ => number % 2 == 1,
    };
    if blocks || request.is_stream() {
        let its = world.clone();
        world.spawn(move || answer(&its, number, request, responder));
    } else {
        answer(world, number, request, responder);
    }
}

fn answer(world: &Arc<World>, number: usize, request: Request, responder: Responder) {
    let asked = &world.asked[number];
    let (tell, told) = mpsc::channel();
    let its = world.clone();
    responder.on_interrupt(move |why| {
        is_told(&its, number, why);
        let _ = tell.send(why);
    });
    let connection = request.connection();
    if !take(world, number, request) {
        return; // nobody waits for it any more
    }
    let responder = match asked.ask.has_metadata {
        true => responder.with_metadata(metadata(number)),
        false => responder,
    };
    match &asked.ask.reply {
        Reply::Error { details } => responder.reply(Err::<(), _>(error(number, *details))),
        Reply::Panic => planned_panic(),
        Reply::Nothing => {}
        Reply::Parts(sizes, end) => send(world, number, sizes, *end, responder),
        Reply::Hold => {
            if let Err(why) = told.recv_timeout(PATIENCE) {
                world.is_wrong_of(number, format!("its handler was not told: {why}"));
            }
        }
        Reply::Subscribe => world.topic.subscribe(responder),
        Reply::CallBack(size, way) if *way != Way::Drop => {
            call_back(world, number, *size, *way, &connection, responder);
        }
        reply => {
            // In the loop nothing may block. What replies with notifications is there half of the time.
            let is_on_loop = world.how == How::Deferred && number % 2 == 0;
            unasked(world, number, &connection, reply, is_on_loop);
            responder.reply(asked.reply(number).swap_remove(0));
        }
    }
}

/// Takes the parts of a request, as many as were planned. Returns whether somebody waits for the reply.
fn take(world: &World, number: usize, request: Request) -> bool {
    let asked = &world.asked[number];
    let first = request.method() as usize - 1;
    let expected = asked.request(number, first);
    let most = asked.ask.takes.filter(|_| request.is_stream()).unwrap_or(usize::MAX);
    let mut parts = request.into_parts();
    let mut taken = 0;
    while taken < most {
        match parts.next_within(PATIENCE) {
            Ok(Some(part)) => {
                if expected.get(taken) != Some(&part) {
                    world.is_wrong_of(number, format!("part {taken} of its request is another"));
                }
                taken += 1;
            }
            Ok(None) => {
                let is_whole = match asked.ask.is_one_message() {
                    true => taken == 1,
                    false => asked.is_finished.load(SeqCst) && taken == asked.given.load(SeqCst),
                };
                if !is_whole {
                    world.is_wrong_of(number, format!("its request ended after {taken} parts"));
                }
                return true;
            }
            Err(ReceiveError::Incomplete) if asked.has_given_up.load(SeqCst) => return true,
            Err(ReceiveError::Cancelled) if may_cancel(world, number) => return false,
            Err(why) => {
                world.is_wrong_of(number, format!("its request after {taken} parts: {why}"));
                return false;
            }
        }
    }
    asked.is_left.store(true, SeqCst);
    true
}

/// Whether a handler may be told that nobody waits for its reply.
fn may_cancel(world: &World, number: usize) -> bool {
    let asked = &world.asked[number];
    let Ask { kind, reply, deadline, .. } = &asked.ask;
    // A call for one reply takes the first part, and no more.
    let has_enough = matches!(kind, Kind::Unary | Kind::Upload)
        && matches!(reply, Reply::Parts(..) | Reply::Subscribe);
    has_enough
        || deadline.is_some()
        || asked.has_given_up.load(SeqCst)
        || world.may_close(asked.client)
}

fn is_told(world: &World, number: usize, why: Interrupt) {
    let asked = &world.asked[number];
    let is_right = match why {
        Interrupt::Deadline => asked.ask.deadline.is_some(),
        Interrupt::Closed => world.may_close(asked.client),
        Interrupt::Stopping => world.is_stopped(),
        _ => may_cancel(world, number),
    };
    if !is_right {
        world.is_wrong_of(number, format!("its handler was told {why:?}"));
    }
}

fn send(world: &World, number: usize, sizes: &[usize], end: End, responder: Responder) {
    let mut parts = responder.into_parts();
    for (at, size) in sizes.iter().enumerate() {
        match parts.send(fill(*size, number, at)) {
            Ok(()) => {}
            Err(PartError::Cancelled) if may_cancel(world, number) => return,
            Err(why) => return world.is_wrong_of(number, format!("part {at}: {why}")),
        }
    }
    match end {
        End::Finish => parts.finish(),
        End::Fail => parts.fail(ErrorReply::new(600, "after the parts")),
        End::GiveUp => drop(parts),
        End::Panic => {
            let _dropped_by_the_panic = parts;
            planned_panic()
        }
    }
}
