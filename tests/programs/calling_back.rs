//! Calls of the server to the client whose request it handles.

use super::plan::{Listens, Way};
use super::world::{PATIENCE, World, fill};
use bytes::Bytes;
use msgpipe::{Connection, Error, ErrorReply, Responder};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// How long the server waits for a client that may not look.
const SHORT: Duration = Duration::from_millis(30);

/// Calls the client of a request, and then answers it.
pub fn call_back(
    world: &Arc<World>,
    number: usize,
    size: usize,
    way: Way,
    connection: &Connection,
    responder: Responder,
) {
    let asked = &world.asked[number];
    let is_heard = world.clients[asked.client].listens == Listens::OnAThread;
    let time = if is_heard { PATIENCE } else { SHORT };
    let client = connection.with_method(number as u32 + 1).with_timeout(time);
    let body = fill(size, number, 9);
    let its = world.clone();
    let then = move |outcome| {
        is_answered(&its, number, outcome);
        responder.reply(its.asked[number].reply(number).swap_remove(0));
    };
    match way {
        Way::Call => then(client.call(body)),
        Way::Start => then(client.start(body).and_then(|call| call.wait())),
        _ => match client.start(body) {
            Ok(call) => call.then(then),
            Err(error) => then(Err(error)),
        },
    }
}

/// What the client has answered.
fn is_answered(world: &World, number: usize, outcome: Result<Bytes, Error>) {
    let asked = &world.asked[number];
    let (listens, called) = (world.clients[asked.client].listens, &asked.called_back);
    let is_right = match &outcome {
        Ok(reply) => {
            number % 4 < 2 && called.load(SeqCst) > 0 && *reply == fill(number % 700, number, 5)
        }
        Err(Error::Answered { reply, .. }) => match reply.code {
            // It takes no calls, or none any more.
            ErrorReply::FAILED => listens != Listens::OnAThread || world.may_close(asked.client),
            ErrorReply::UNANSWERED => number % 4 == 3 && called.load(SeqCst) > 0,
            400 => number % 4 == 2 && called.load(SeqCst) > 0,
            // So many calls, or bytes of them, wait there.
            ErrorReply::TOO_MANY_REQUESTS => called.load(SeqCst) == 0,
            ErrorReply::STOPPING => world.is_stopped(),
            _ => false,
        },
        Err(Error::Deadline { .. }) => {
            listens != Listens::OnAThread || asked.ask.deadline.is_some()
        }
        Err(Error::Closed { .. }) => world.may_close(asked.client),
        Err(Error::TooManyCalls { .. } | Error::Full { .. }) => world.is_tight,
        Err(_) => false,
    };
    if !is_right {
        world.is_wrong_of(number, format!("the client's answer to a call: {outcome:?}"));
    }
}
