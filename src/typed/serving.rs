//! Passes a request to a method, and its outcome to the client.

use super::arguments::{Arguments, Reader};
use super::codec::{Codec, CodecError};
use super::context::Context;
use super::error::{ServiceError, code};
use super::incoming::Incoming;
use super::method::Method;
use super::progress::Progress;
use super::replying::{Replying, error_reply, outcome};
use super::topic::Subscriber;
use crate::error::ErrorReply;
use crate::server::{ClientNotification, ReceiveError, Request, RequestParts, Responder};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::time::Duration;

/// How long a server waits for the arguments of a request of parts: clients send them at once, and a worker waits.
const ARGUMENTS_WAIT: Duration = Duration::from_secs(10);

/// A request that is to be passed to a method.
#[derive(Debug)]
pub struct ServerCall {
    request: Request,
    responder: Responder,
}

/// A notification that is to be passed to a method.
#[derive(Debug)]
pub struct Told<'n>(pub(super) &'n ClientNotification);

impl Told<'_> {
    /// The number of its method.
    pub fn number(&self) -> u32 {
        self.0.method()
    }
}

/// A request whose arguments have been read.
struct Begun<A> {
    context: Context,
    arguments: A,
    codec: Codec,
    responder: Responder,
}

impl ServerCall {
    pub(super) fn new(request: Request, responder: Responder) -> ServerCall {
        ServerCall { request, responder }
    }

    /// The number of its method.
    pub fn number(&self) -> u32 {
        self.request.method()
    }

    /// Answers with a text.
    pub(super) fn answer(self, reply: Result<String, ErrorReply>) {
        self.responder.reply(reply);
    }

    /// Answers that it is not begun.
    pub(super) fn refuse(self, why: ErrorReply) {
        self.responder.refuse(why);
    }

    /// Answers a call of a method that has no reply.
    pub fn refuse_one_way(self, method: &'static Method) {
        let text = format!("{} has no reply: it is sent as a notification", method.name);
        self.answer(Err(ErrorReply::new(code::BAD_ARGUMENTS, text)));
    }

    /// Reads the arguments. `None`: they are wrong, and that was answered.
    fn begin<A: Arguments>(self, method: &'static Method) -> Option<Begun<A>> {
        let ServerCall { request, responder } = self;
        if request.is_stream() {
            let text =
                format!("{} takes a request of one message, and this has parts", method.name);
            responder.reply(Err::<Bytes, _>(ErrorReply::new(code::BAD_ARGUMENTS, text)));
            return None;
        }
        match read(method, &request.body()) {
            Ok((codec, arguments)) => {
                let context = Context::of_request(method.name, request);
                Some(Begun { context, arguments, codec, responder })
            }
            Err(wrong) => {
                responder.reply(Err::<Bytes, _>(wrong));
                None
            }
        }
    }

    /// The same for a request of parts, the first of which is the arguments.
    fn begin_stream<A: Arguments>(
        self,
        method: &'static Method,
    ) -> Option<(Begun<A>, RequestParts)> {
        let ServerCall { mut request, responder } = self;
        let mut parts = request.take_parts();
        let first = match parts.next_within(ARGUMENTS_WAIT) {
            Ok(first) => first.unwrap_or_default(),
            // Nobody waits for an answer.
            Err(ReceiveError::Cancelled) => return None,
            Err(why) => {
                let text = format!("the arguments of {} did not come: {why}", method.name);
                responder.reply(Err::<Bytes, _>(ErrorReply::new(code::BAD_ARGUMENTS, text)));
                return None;
            }
        };
        match read(method, &first) {
            Ok((codec, arguments)) => {
                let context = Context::of_request(method.name, request);
                Some((Begun { context, arguments, codec, responder }, parts))
            }
            Err(wrong) => {
                responder.reply(Err::<Bytes, _>(wrong));
                None
            }
        }
    }
}

fn read<A: Arguments>(method: &'static Method, bytes: &[u8]) -> Result<(Codec, A), ErrorReply> {
    let codec = Codec::of(bytes).map_err(|problem| wrong(method, None, problem))?;
    // A client without arguments need not say so.
    let bytes = if bytes.is_empty() { &[0x80] } else { bytes };
    let reader = Reader::<A>(method.arguments, PhantomData);
    let arguments = codec.decode(bytes, &reader);
    Ok((codec, arguments.map_err(|problem| wrong(method, Some(codec), problem))?))
}

/// The place is in the details, for the client's error.
fn wrong(method: &'static Method, codec: Option<Codec>, problem: CodecError) -> ErrorReply {
    let name = method.name;
    let text = match codec {
        Some(codec) => format!("{name} ({codec}): the arguments are wrong: {problem}"),
        None => format!("{name}: {problem}"),
    };
    ErrorReply::new(code::BAD_ARGUMENTS, text).with_details(problem.place)
}

/// One request, one reply.
pub fn unary<A, T, E>(
    call: ServerCall,
    method: &'static Method,
    run: impl FnOnce(&Context, A) -> Result<T, E>,
) where
    A: Arguments,
    T: Serialize,
    E: ServiceError,
{
    let Some(Begun { context, arguments, codec, responder }) = call.begin::<A>(method) else {
        return;
    };
    let answer = run(&context, arguments);
    responder.reply(outcome(method, codec, answer));
}

/// A reply of many parts.
pub fn replies<A, T, E>(
    call: ServerCall,
    method: &'static Method,
    run: impl FnOnce(&Context, A, Replying<T, E>),
) where
    A: Arguments,
    T: Serialize,
    E: ServiceError,
{
    if let Some(Begun { context, arguments, codec, responder }) = call.begin::<A>(method) {
        run(&context, arguments, Replying::new(responder, method, codec));
    }
}

/// A request of many parts.
pub fn upload<A, I, T, E>(
    call: ServerCall,
    method: &'static Method,
    run: impl FnOnce(&Context, A, Incoming<I>) -> Result<T, E>,
) where
    A: Arguments,
    I: DeserializeOwned,
    T: Serialize,
    E: ServiceError,
{
    if let Some((begun, parts)) = call.begin_stream::<A>(method) {
        let Begun { context, arguments, codec, responder } = begun;
        let answer = run(&context, arguments, Incoming::new(parts, method, codec));
        responder.reply(outcome(method, codec, answer));
    }
}

/// Both.
pub fn duplex<A, I, T, E>(
    call: ServerCall,
    method: &'static Method,
    run: impl FnOnce(&Context, A, Incoming<I>, Replying<T, E>),
) where
    A: Arguments,
    I: DeserializeOwned,
    T: Serialize,
    E: ServiceError,
{
    if let Some((begun, parts)) = call.begin_stream::<A>(method) {
        let Begun { context, arguments, codec, responder } = begun;
        let replying = Replying::new(responder, method, codec);
        run(&context, arguments, Incoming::new(parts, method, codec), replying);
    }
}

/// A reply, and progress until then.
pub fn progress<A, P, T, E>(
    call: ServerCall,
    method: &'static Method,
    run: impl FnOnce(&Context, A, Progress<P>) -> Result<T, E>,
) where
    A: Arguments,
    P: Serialize,
    T: Serialize,
    E: ServiceError,
{
    if let Some(Begun { context, arguments, codec, responder }) = call.begin::<A>(method) {
        let progress = Progress::new(responder, codec);
        let answer = run(&context, arguments, progress.clone());
        progress.end(method, answer);
    }
}

/// What is published from now on.
pub fn subscription<A, T, E>(
    call: ServerCall,
    method: &'static Method,
    run: impl FnOnce(&Context, A, Subscriber<T>) -> Result<(), E>,
) where
    A: Arguments,
    T: Serialize,
    E: ServiceError,
{
    if let Some(Begun { context, arguments, codec, responder }) = call.begin::<A>(method) {
        let (subscriber, slot) = Subscriber::new(responder, method, codec);
        let answer = run(&context, arguments, subscriber);
        if let (Err(error), Some(responder)) = (answer, slot.take()) {
            responder.reply(Err::<Bytes, _>(error_reply(method, codec, &error)));
        }
    }
}

/// A notification. One that is wrong is dropped: nobody waits to be told.
pub fn one_way<A: Arguments>(
    told: &Told<'_>,
    method: &'static Method,
    run: impl FnOnce(&Context, A),
) {
    if let Ok((_, arguments)) = read::<A>(method, &told.0.body()) {
        run(&Context::of_notification(method.name, told.0), arguments);
    }
}
