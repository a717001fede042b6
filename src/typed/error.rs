//! How a call of a typed service fails.

use super::codec::{Codec, CodecError};
use crate::error::{Error, ErrorReply};
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer};
use serde::ser::{Serialize, Serializer};
use std::fmt::{self, Display};

/// The codes of the error replies that the typed layer gives itself. Those of a service are from 100 to 65 499.
pub mod code {
    /// The server has no such method. It was not begun.
    pub const UNKNOWN_METHOD: u16 = crate::error::ErrorReply::NO_METHOD;
    /// The arguments cannot be decoded. The method was not begun.
    pub const BAD_ARGUMENTS: u16 = 65_501;
    /// The method was carried out, and its reply cannot be encoded.
    pub const BAD_REPLY: u16 = 65_502;
    /// What an error has that gives no code of its own.
    pub const DEFAULT: u16 = 100;
    /// The last one that an error can have.
    pub const LAST: u16 = 65_499;
}

/// The error of a service's methods: it travels as it is, with a code and its text for who does not know its type.
///
/// ```
/// use msgpipe::typed::ServiceError;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, thiserror::Error, Serialize, Deserialize)]
/// enum NoteError {
///     #[error("no note {0}")]
///     NotFound(u64),
///     #[error("the disk is full")]
///     DiskFull,
/// }
///
/// impl ServiceError for NoteError {
///     fn code(&self) -> u16 {
///         match self {
///             NoteError::NotFound(_) => 404,
///             NoteError::DiskFull => 507,
///         }
///     }
/// }
/// ```
pub trait ServiceError: Serialize + DeserializeOwned + Display {
    /// Its code in the [`ErrorReply`], from 100 to 65 499, which should stay the same; any other is sent as
    /// [`code::DEFAULT`].
    fn code(&self) -> u16 {
        code::DEFAULT
    }
}

impl ServiceError for String {}

/// The error of a method that returns no `Result`: there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {}

impl Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for Never {}

impl Serialize for Never {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        match *self {}
    }
}

impl<'d> Deserialize<'d> for Never {
    fn deserialize<D: Deserializer<'d>>(_: D) -> Result<Never, D::Error> {
        Err(de::Error::custom("this method has no errors of its own"))
    }
}

impl ServiceError for Never {}

/// Why a call of a typed client failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError<E> {
    /// The service's own error.
    #[error("{0}")]
    Application(E),
    /// The connection, the time, a limit, or an error reply without a type, as of a handler that has panicked.
    #[error(transparent)]
    Call(#[from] Error),
    /// The two sides do not understand each other.
    #[error(transparent)]
    Mismatch(Box<Mismatch>),
}

/// The two sides do not understand each other: they have different versions of a service, or one of them does not serve it.
///
/// `Debug` shows the text too, so that a `main` that returns it prints something useful.
#[derive(Clone)]
pub struct Mismatch {
    pub(super) method: &'static str,
    pub(super) codec: Codec,
    pub(super) what: What,
    pub(super) problem: CodecError,
    pub(super) reply: Option<ErrorReply>,
}

/// What is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// The server has no such method.
    Method,
    /// The server could not decode the arguments, or this side not encode them.
    Arguments,
    /// An item of a request of many parts could not be encoded. What was sent before it may have been carried out.
    Item,
    /// The reply, or a part of it, could not be encoded there or decoded here.
    Reply,
    /// The service's error could not be decoded here: its code and text are in [`Mismatch::reply`].
    Error,
}

impl Mismatch {
    /// The method.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// The form of the values.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// What is not understood.
    pub fn what(&self) -> What {
        self.what
    }

    /// Where in it, as in `note.tags[2]`; empty if it is all of it, or is not known.
    pub fn place(&self) -> &str {
        &self.problem.place
    }

    /// The error reply of the server, if it sent one.
    pub fn reply(&self) -> Option<&ErrorReply> {
        self.reply.as_ref()
    }

    pub(super) fn new(codec: Codec, what: What, problem: CodecError) -> Mismatch {
        Mismatch { method: "", codec, what, problem, reply: None }
    }
}

/// What to do about it.
const VERSIONS: &str =
    "the two sides have different versions of the service (`msgpipe inspect` shows the server's)";

impl fmt::Debug for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { method, codec, what, problem, reply } = self;
        write!(f, "{method}: ")?;
        match (what, reply) {
            (What::Method, _) => write!(f, "the server does not serve this method ({problem})"),
            (What::Arguments, Some(reply)) => {
                write!(f, "the server could not read the arguments: {}: {VERSIONS}", reply.text)
            }
            (What::Arguments, None) => {
                write!(f, "the arguments cannot be sent as {codec}: {problem}")
            }
            (What::Item, _) => write!(f, "an item cannot be sent as {codec}: {problem}"),
            (What::Reply, Some(reply)) => {
                write!(f, "the server could not send the reply: {}", reply.text)
            }
            (What::Reply, None) => {
                write!(f, "the reply is not what is expected ({codec}): {problem}: {VERSIONS}")
            }
            (What::Error, Some(reply)) => {
                write!(f, "{reply} (its details are not known here, {codec}: {problem})")
            }
            (What::Error, None) => write!(f, "the error cannot be read ({codec}): {problem}"),
        }
    }
}

impl std::error::Error for Mismatch {}

impl<E> CallError<E> {
    /// Whether the method was certainly not begun: the call can be made again without being carried out twice.
    pub fn is_not_begun(&self) -> bool {
        match self {
            CallError::Application(_) => false,
            CallError::Call(error) => error.is_not_begun(),
            CallError::Mismatch(mismatch) => {
                matches!(mismatch.what, What::Method | What::Arguments)
            }
        }
    }

    /// The service's own error, if it is one.
    pub fn application(&self) -> Option<&E> {
        match self {
            CallError::Application(error) => Some(error),
            _ => None,
        }
    }
}
