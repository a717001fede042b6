//! What a method returns, as it is sent.

use super::codec::Codec;
use super::error::{ServiceError, code};
use super::method::Method;
use crate::error::ErrorReply;
use crate::server::{PartError, Responder};
use bytes::Bytes;
use serde::Serialize;
use std::marker::PhantomData;

/// The reply, or the service's error.
pub fn outcome<T: Serialize, E: ServiceError>(
    method: &Method,
    codec: Codec,
    answer: Result<T, E>,
) -> Result<Vec<u8>, ErrorReply> {
    let value = answer.map_err(|error| error_reply(method, codec, &error))?;
    encode(method, codec, &value)
}

pub fn encode<T: Serialize>(
    method: &Method,
    codec: Codec,
    value: &T,
) -> Result<Vec<u8>, ErrorReply> {
    codec.encode(value).map_err(|problem| {
        let text = format!("{} ({codec}): the reply cannot be sent: {problem}", method.name);
        ErrorReply::new(code::BAD_REPLY, text)
    })
}

/// The error with its type in the details. One that cannot be encoded goes with its code and text alone.
pub fn error_reply<E: ServiceError>(method: &Method, codec: Codec, error: &E) -> ErrorReply {
    let its_code = match error.code() {
        its @ code::DEFAULT..=code::LAST => its,
        _ => code::DEFAULT,
    };
    match codec.encode(error) {
        Ok(details) => ErrorReply::new(its_code, error.to_string()).with_details(details),
        Err(problem) => {
            let text = format!("{error} ({}: not sent as {codec}: {problem})", method.name);
            ErrorReply::new(its_code, text)
        }
    }
}

/// Where the items of a reply go.
#[derive(Debug)]
pub struct Replying<T, E> {
    responder: Responder,
    method: &'static Method,
    codec: Codec,
    of: PhantomData<fn(T, E)>,
}

impl<T: Serialize, E: ServiceError> Replying<T, E> {
    pub(super) fn new(
        responder: Responder,
        method: &'static Method,
        codec: Codec,
    ) -> Replying<T, E> {
        Replying { responder, method, codec, of: PhantomData }
    }

    /// Sends all items, until the client takes no more.
    pub fn send(self, items: Result<impl IntoIterator<Item = Result<T, E>>, E>) {
        let Replying { responder, method, codec, .. } = self;
        let items = match items {
            Ok(items) => items,
            Err(error) => {
                let error = error_reply(method, codec, &error);
                return responder.reply(Err::<Bytes, _>(error));
            }
        };
        let mut parts = responder.into_parts();
        for item in items {
            let item = match outcome(method, codec, item) {
                Ok(item) => item,
                Err(error) => return parts.fail(error),
            };
            match parts.send(item) {
                Ok(()) => {}
                Err(PartError::Full(_)) => return parts.fail(not_here(method)),
                Err(_) => return,
            }
        }
        parts.finish();
    }
}

/// The server's own thread cannot wait for a client.
pub fn not_here(method: &Method) -> ErrorReply {
    let text = format!(
        "{} has a reply of parts, which needs a thread that may wait: serve it with workers (Server::serve_typed)",
        method.name
    );
    ErrorReply::new(ErrorReply::FAILED, text)
}
