//! The two levels of this crate, as the sides of a connection tell them apart.
#![forbid(unsafe_code)]

/// What the messages of a connection are. Both sides say it in their preface, so that a program
/// that speaks the other one is told so instead of misreading it.
///
/// ```
/// use msgpipe::framing::{Layer, Native};
/// let framing = Native::new(Layer::Messages, 1024);
/// assert_eq!(framing.limit(), 1024);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layer {
    /// Messages that mean whatever the application makes of them
    /// ([`MessageServer`](crate::MessageServer), [`MessageClient`](crate::MessageClient)).
    Messages,
    /// Requests and replies ([`Server`](crate::Server), [`Client`](crate::Client)).
    Calls,
}

impl Layer {
    /// As the preface says it.
    pub(crate) fn number(self) -> u8 {
        match self {
            Layer::Messages => 0,
            Layer::Calls => 1,
        }
    }
}

/// A layer in words, and what speaks it.
pub(crate) fn in_words(number: u8) -> String {
    match number {
        0 => "plain messages (MessageServer, MessageClient)".to_owned(),
        1 => "calls (Server, Client)".to_owned(),
        number => format!("the unknown layer {number}"),
    }
}
