//! Requests that the server answers itself: the reserved methods of [`monitor`](crate::monitor).

use super::Answerer;
use crate::error::ErrorReply;
use crate::message_server::MessageServer;
use crate::monitor::{DESCRIBE, INFO, PING, TAP, TAPS_MAX};
use crate::server::monitoring::Readers;
use crate::server::responder::Request;
use crate::server::topic::Topic;
use bytes::Bytes;

/// Those who look on take what they can; nobody waits for them.
struct LookersOn(Topic);

impl Readers for LookersOn {
    fn count(&self) -> usize {
        self.0.subscribers()
    }

    fn tell(&self, seen: Bytes) {
        // What does not fit is missed by its number.
        let _ = self.0.publish(seen);
    }
}

/// Answers a request with a reserved method.
pub(super) fn answer<M: MessageServer>(request: Request, answer: Answerer<'_, M>) {
    let tap = &request.origin.outbox.tap;
    let method = request.method;
    let refused = match method {
        _ if request.is_stream() => Some(parts_refused()),
        INFO | TAP if tap.shown().is_none() => Some(not_allowed("this server shows nothing")),
        INFO | TAP if !request.peer().same_user => {
            Some(not_allowed("only programs of the server's own user are shown this"))
        }
        TAP if tap.readers() >= TAPS_MAX => {
            let text = format!("{TAPS_MAX} programs read what is sent already, the limit");
            Some(ErrorReply::new(ErrorReply::BUSY, text))
        }
        DESCRIBE if tap.description().is_none() => {
            Some(no_method("this server does not describe its methods"))
        }
        PING | INFO | TAP | DESCRIBE => None,
        _ => Some(no_method("this version of msgpipe has no such method")),
    };
    match (refused, method) {
        (Some(error), _) => answer.reply(method, Err(error.into())),
        (None, TAP) => {
            tap.begin(|| Box::new(LookersOn(answer.server.lookers_on.clone())));
            answer.tap(request);
        }
        (None, INFO) => {
            let text = answer.info();
            answer.reply(method, Ok(text.into()));
        }
        (None, DESCRIBE) => {
            let description = tap.description().cloned().unwrap_or_default();
            answer.reply(method, Ok(description));
        }
        (None, _) => answer.reply(method, Ok(request.into_body())),
    }
}

fn not_allowed(text: &str) -> ErrorReply {
    ErrorReply::new(ErrorReply::NOT_ALLOWED, text)
}

fn no_method(text: &str) -> ErrorReply {
    ErrorReply::new(ErrorReply::NO_METHOD, text)
}

fn parts_refused() -> ErrorReply {
    ErrorReply::new(ErrorReply::PARTS_REFUSED, "this method takes requests of one message")
}
