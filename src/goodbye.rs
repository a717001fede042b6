//! The reason that a side sends when it closes a connection.
#![forbid(unsafe_code)]

/// The reason why this side closes a connection. It is sent to the peer.
///
/// ```
/// let why = msgpipe::Goodbye::new(200, "the licence has ended");
/// assert_eq!(why.code, 200);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Goodbye {
    /// The code: a [`GoodbyeCode`](crate::framing::GoodbyeCode), or the application's own from 100 on.
    pub code: u16,
    /// The human-readable reason. At most 512 bytes of it are sent.
    pub text: String,
}

impl Goodbye {
    /// A goodbye with this code and text.
    pub fn new(code: u16, text: impl Into<String>) -> Goodbye {
        Goodbye { code, text: text.into() }
    }
}
