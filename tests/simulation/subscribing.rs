//! The subscriptions of clients.

use super::case::{Case, front};
use super::places::Place;
use super::plan::Room;
use msgpipe::framing::FramingError;
use msgpipe::tokio::{Client, ReconnectingClient};
use msgpipe::{CloseReason, Error, ErrorReply, Received};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

/// Checks the order of what is published.
struct Heard {
    last: Option<u32>,
    has_gap: bool,
}

impl Heard {
    fn hears(&mut self, case: &Case, body: &[u8]) -> u32 {
        let number = front(body);
        let is_next = match self.last {
            None => true,
            // By the default policy nothing is lost without being told.
            Some(last) if case.program.when_full % 3 == 0 && !self.has_gap => number == last + 1,
            Some(last) => number > last,
        };
        if !is_next {
            let last = self.last;
            case.is_wrong(format!("news {number} after {last:?}, has gap: {}", self.has_gap));
        }
        (self.last, self.has_gap) = (Some(number), false);
        number
    }
}

/// Takes a break after a message, at times.
async fn rest(case: &Case) {
    let world = case.world;
    if world.random(10) == 0 {
        world.pass(Duration::from_millis(world.random(3000))).await;
    }
}

pub async fn subscribe(case: Arc<Case>, client: Client, _place: Place) {
    let mut heard = Heard { last: None, has_gap: false };
    let mut parts = match client.stream("").await {
        Ok(parts) => parts,
        // The server has said that it stops.
        Err(Error::TooManyCalls { .. } | Error::Answered { .. }) => return,
        Err(error) if case.may_end(&error) => return,
        Err(error) => return case.is_wrong(format!("a subscription: {error}")),
    };
    while let Some(part) = parts.next().await {
        match part {
            Ok(part) => drop(heard.hears(&case, &part)),
            // As it lags, as the server stops, or as there is no memory or no place for it.
            Err(Error::Answered { .. }) => return,
            Err(Error::Closed { .. }) => return,
            Err(error) => return case.is_wrong(format!("a subscription ends: {error}")),
        }
        rest(&case).await;
    }
}

pub async fn subscribe_again(
    case: Arc<Case>,
    client: ReconnectingClient,
    mark: Arc<AtomicU32>,
    is_closed: Arc<AtomicBool>,
    _place: Place,
) {
    let mut heard = Heard { last: None, has_gap: false };
    let mut news = match client.subscribe("").await {
        Ok(news) => news,
        Err(Error::TooManyCalls { .. }) => return,
        Err(error) if case.may_end(&error) => return,
        Err(error) => return case.is_wrong(format!("a subscription: {error}")),
    };
    while let Some(received) = news.next().await {
        match received {
            Ok(Received::Part(part)) => {
                if heard.hears(&case, &part) >= mark.load(SeqCst) {
                    return;
                }
            }
            Ok(Received::Gap(_)) => heard.has_gap = true,
            Ok(_) => {}
            Err(Error::GaveUp { .. }) if case.is_rough => return,
            Err(Error::Closed { reason, .. })
                if is_closed.load(SeqCst) || is_on_purpose(&reason) =>
            {
                return;
            }
            Err(Error::Answered { .. } | Error::TooManyCalls { .. })
                if case.program.room != Room::Enough =>
            {
                return;
            }
            Err(Error::Answered { reply, .. })
                if reply.code == ErrorReply::STOPPING && is_closed.load(SeqCst) =>
            {
                return;
            }
            Err(error) => return case.is_wrong(format!("a subscription ends: {error}")),
        }
        rest(&case).await;
    }
    case.is_wrong("a subscription has ended by itself");
}

/// Whether the handler or the program has closed the connection. A subscription goes on after all other ends.
fn is_on_purpose(reason: &CloseReason) -> bool {
    matches!(reason, CloseReason::Peer(FramingError::Goodbye { code, .. }) if *code == 200)
}
