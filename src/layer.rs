//! The layer of a connection: plain messages or calls.
#![forbid(unsafe_code)]

/// What the messages of a connection are. Both sides send it in their preface, so that a program of the
/// other layer gets an error instead of misreading the messages.
///
/// ```
/// use msgpipe::framing::{Layer, Native};
/// let framing = Native::new(Layer::Messages, 1024);
/// assert_eq!(framing.limit(), 1024);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layer {
    /// Messages that the application defines
    /// ([`MessageServer`](crate::MessageServer), [`MessageClient`](crate::MessageClient)).
    Messages,
    /// Requests and replies ([`Server`](crate::Server), [`Client`](crate::Client)).
    Calls,
}

impl Layer {
    /// The number in the preface.
    pub(crate) fn number(self) -> u8 {
        match self {
            Layer::Messages => 0,
            Layer::Calls => 1,
        }
    }
}

/// A layer as text, with the types that use it.
pub(crate) fn in_words(number: u8) -> String {
    match number {
        0 => "plain messages (MessageServer, MessageClient)".to_owned(),
        1 => "calls (Server, Client)".to_owned(),
        number => format!("the unknown layer {number}"),
    }
}
