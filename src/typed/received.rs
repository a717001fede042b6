//! What a server has sent, read by a client.

use super::codec::{Codec, CodecError};
use super::error::{CallError, Mismatch, ServiceError, What, code};
use super::method::Method;
use super::step::Step;
use crate::error::{Error, ErrorReply};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

/// A reply, or one of its items.
pub fn reply<T: DeserializeOwned, E: ServiceError>(
    method: &'static Method,
    codec: Codec,
    reply: Result<Bytes, Error>,
) -> Result<T, CallError<E>> {
    let reply = reply.map_err(|error| failed(method, codec, error))?;
    let value = codec.decode(&reply, &PhantomData::<T>);
    value.map_err(|problem| method.mismatch(Mismatch::new(codec, What::Reply, problem)))
}

/// Progress, or the reply.
pub fn step<P: DeserializeOwned, T: DeserializeOwned, E: ServiceError>(
    method: &'static Method,
    codec: Codec,
    part: Result<Bytes, Error>,
) -> Result<Step<P, T>, CallError<E>> {
    reply(method, codec, part)
}

/// A reply with progress has ended without the reply.
pub fn no_reply<E>(method: &'static Method, codec: Codec) -> CallError<E> {
    let problem = "the parts have ended without a reply".to_owned();
    let problem = CodecError { place: String::new(), problem };
    method.mismatch(Mismatch::new(codec, What::Reply, problem))
}

/// An item that cannot be sent.
pub fn unsendable_item<E>(
    method: &'static Method,
    codec: Codec,
    problem: CodecError,
) -> CallError<E> {
    method.mismatch(Mismatch::new(codec, What::Item, problem))
}

/// Arguments that cannot be sent.
pub fn unsendable<E>(method: &'static Method, codec: Codec, problem: CodecError) -> CallError<E> {
    method.mismatch(Mismatch::new(codec, What::Arguments, problem))
}

/// An error, which may be the service's own.
pub fn failed<E: ServiceError>(
    method: &'static Method,
    codec: Codec,
    error: Error,
) -> CallError<E> {
    let Some(reply) = error.reply().cloned() else { return CallError::Call(error) };
    let (what, problem) = match reply.code {
        code::DEFAULT..=code::LAST => match codec.decode(&reply.details, &PhantomData::<E>) {
            Ok(error) => return CallError::Application(error),
            Err(problem) => (What::Error, problem),
        },
        code::UNKNOWN_METHOD => (What::Method, said(&reply)),
        code::BAD_ARGUMENTS => (What::Arguments, said(&reply)),
        code::BAD_REPLY => (What::Reply, said(&reply)),
        _ => return CallError::Call(error),
    };
    method.mismatch(Mismatch { reply: Some(reply), ..Mismatch::new(codec, what, problem) })
}

/// What the server says of it. The details are the place.
fn said(reply: &ErrorReply) -> CodecError {
    let place = String::from_utf8_lossy(&reply.details).into_owned();
    CodecError { place, problem: reply.text.clone() }
}
