//! One call of a client.

use super::case::{Case, fill};
use super::places::Place;
use super::plan::{Ask, Kind, Taking};
use bytes::Bytes;
use msgpipe::tokio::{Call, Client, Parts, ReconnectingClient, Upload};
use msgpipe::{Error, Metadata, bytes};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Requests up to this are sent as they are begun, also before the server's limits are known.
const SMALL: usize = 200;

/// How a client calls.
pub enum Via {
    Plain(usize, Client),
    Again(ReconnectingClient),
}

/// Makes a call, and takes its reply. The call is in flight as long as it has its place.
pub async fn ask(case: Arc<Case>, via: Via, ask: Ask, _place: Place) {
    let time = ask.deadline.unwrap_or(case.limits().call);
    let (began, method) = (case.world.now(), ask.number as u32 + 1);
    let number = ask.number;
    match via {
        Via::Plain(id, client) => {
            let client = client.with_method(method).with_timeout(time);
            call(&case, client, Some(id), &ask, began, time).await;
        }
        Via::Again(client) if ask.kind == Kind::Unary => {
            let client = client.with_method(method).with_timeout(time);
            let client = if ask.idempotent { client.idempotent() } else { client };
            let call = client.call(fill(ask.request[0], number, 0));
            if let Some(outcome) = taken(&case, &ask, call).await {
                case.ends(number, outcome, began, time);
            }
        }
        Via::Again(client) => {
            let client = client.with_method(method).with_timeout(time);
            let connected = client.client().await;
            case.check_time("a connection", began + time, Duration::ZERO);
            match connected {
                Ok(client) => call(&case, client, None, &ask, case.world.now(), time).await,
                Err(error) if case.may_end(&error) => {}
                Err(error) => case.is_wrong_of(number, error),
            }
        }
    }
}

/// Waits as long as planned. `None`: it was dropped.
async fn taken<T>(case: &Case, ask: &Ask, work: impl Future<Output = T>) -> Option<T> {
    match ask.taking {
        Taking::Within(most) => {
            let taken = case.world.within(most, work).await;
            if taken.is_none() {
                case.leaves(ask.number);
            }
            taken
        }
        _ => Some(work.await),
    }
}

async fn call(
    case: &Case,
    client: Client,
    id: Option<usize>,
    ask: &Ask,
    began: Instant,
    time: Duration,
) {
    let number = ask.number;
    let metadata = Metadata::default().with(b"number", &[number as u8; 7]).unwrap();
    let client = if number % 3 == 0 { client.with_metadata(metadata) } else { client };
    match ask.kind {
        Kind::Unary => {
            let body = fill(ask.request[0], number, 0);
            let is_ordered = body.len() <= SMALL;
            case.asked(number).connection = id.filter(|_| is_ordered);
            match client.start(body).await {
                Ok(call) => {
                    if let Some(id) = id.filter(|_| is_ordered) {
                        case.connections.lock().unwrap()[id].asked.push(number);
                    }
                    reply(case, ask, call, began, time).await;
                }
                Err(error) => case.ends(number, Err(error), began, time),
            }
        }
        Kind::Stream => {
            let parts = client.stream(fill(ask.request[0], number, 0)).await;
            case.check_time("a stream", began + time, Duration::ZERO);
            match parts {
                Ok(parts) => take_parts(case, ask, parts).await,
                Err(error) => case.fails(number, &error),
            }
        }
        Kind::Upload => match client.upload() {
            Ok(upload) => {
                let Some(upload) = send(case, ask, upload).await else { return };
                let began = case.world.now();
                match upload.finish() {
                    Ok(call) => reply(case, ask, call, began, time).await,
                    Err(error) => case.fails(number, &error),
                }
            }
            Err(error) => case.fails(number, &error),
        },
        Kind::Duplex => match client.duplex() {
            Ok((upload, parts)) => {
                // The reply may come before the end of the request.
                let sends = async {
                    if let Some(upload) = send(case, ask, upload).await {
                        if let Err(error) = upload.end() {
                            case.is_refused(number, &error);
                        }
                    }
                };
                both(sends, take_parts(case, ask, parts)).await;
            }
            Err(error) => case.fails(number, &error),
        },
    }
}

/// Waits for both.
async fn both(one: impl Future<Output = ()>, two: impl Future<Output = ()>) {
    let (mut one, mut two) = (Box::pin(one), Box::pin(two));
    let (mut has_one, mut has_two) = (false, false);
    std::future::poll_fn(|context| {
        has_one = has_one || one.as_mut().poll(context).is_ready();
        has_two = has_two || two.as_mut().poll(context).is_ready();
        match has_one && has_two {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
}

async fn reply(case: &Case, ask: &Ask, call: Call, began: Instant, time: Duration) {
    match ask.taking {
        Taking::Cancel => {
            case.leaves(ask.number);
            call.cancel();
        }
        Taking::Detach => call.detach(),
        _ => {
            if let Some(outcome) = taken(case, ask, call).await {
                case.ends(ask.number, outcome, began, time);
            }
        }
    }
}

async fn take_parts(case: &Case, ask: &Ask, mut parts: Parts) {
    let (mut came, number) = (0, ask.number);
    let takes = async {
        loop {
            match parts.next().await {
                _ if matches!(ask.taking, Taking::Some(most) if came >= most) => {
                    case.leaves(number);
                    return;
                }
                Some(Ok(part)) => {
                    case.part_comes(number, came, &part);
                    came += 1;
                }
                Some(Err(error)) => return case.parts_end(number, came, Err(error)),
                None => return case.parts_end(number, came, Ok(())),
            }
        }
    };
    taken(case, ask, takes).await;
}

/// Sends the parts of a request. Returns what ends it, if it was planned to be ended.
async fn send(case: &Case, ask: &Ask, mut upload: Upload) -> Option<Upload> {
    let number = ask.number;
    for (at, size) in ask.request.iter().enumerate() {
        let part: Bytes = fill(*size, number, at);
        let sent: Result<(), Error> = upload.send(part).await;
        match sent {
            Ok(()) => case.asked(number).given += 1,
            Err(error) => {
                case.is_refused(number, &error);
                break;
            }
        }
    }
    let mut asked = case.asked(number);
    match ask.finishes {
        true => asked.is_finished = true,
        false => asked.has_given_up = true,
    }
    Some(upload).filter(|_| ask.finishes)
}
