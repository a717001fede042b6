//! Calls of the server to its clients.

use super::case::{Case, fill};
use super::signal::Signal;
use bytes::Bytes;
use msgpipe::{ErrorReply, Request, Responder, bytes};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// A server looks for deadlines this often at most.
const LOOKS: Duration = Duration::from_millis(10);

/// Calls the client.
pub async fn call_back(
    case: &Arc<Case>,
    number: usize,
    size: usize,
    request: &Request,
    to: Responder,
) {
    let answered = Signal::default();
    let connection = request.connection().with_method(number as u32 + 1);
    let time = case.limits().call;
    call_client(case, &connection, time, fill(size, number, 9), &answered);
    to.reply(match answered.taken().await {
        Ok(_) => Ok("called back"),
        Err(text) => Err(ErrorReply::new(301, text)),
    });
}

/// Calls a client, and checks how that ends.
pub fn call_client(
    case: &Arc<Case>,
    connection: &msgpipe::Connection,
    time: Duration,
    body: Bytes,
    answered: &Signal<Result<Bytes, String>>,
) {
    case.calls_back.fetch_add(1, SeqCst);
    let (case, gives) = (case.clone(), answered.clone());
    let (expected, due) = (body.clone(), case.world.now() + time);
    match connection.with_timeout(time).start(body) {
        Ok(call) => call.then(move |outcome| {
            case.calls_back.fetch_sub(1, SeqCst);
            case.check_time("a call to a client", due, LOOKS);
            if outcome.as_ref().is_ok_and(|reply| *reply != expected) {
                case.is_wrong("a client's answer is another");
            }
            gives.give(outcome.map_err(|error| error.to_string()));
        }),
        Err(error) => {
            case.calls_back.fetch_sub(1, SeqCst);
            gives.give(Err(error.to_string()));
        }
    }
}
