//! What a side says when it closes a connection.
#![forbid(unsafe_code)]

/// Why this side closes a connection, as its peer will read it.
///
/// ```
/// let why = msgpipe::Goodbye::new(200, "the licence has ended");
/// assert_eq!(why.code, 200);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Goodbye {
    /// The reason's number: [`GoodbyeCode`](crate::framing::GoodbyeCode), or from 100 on the
    /// application's own.
    pub code: u16,
    /// The reason in words, of which 512 bytes are sent.
    pub text: String,
}

impl Goodbye {
    /// A goodbye with this reason.
    pub fn new(code: u16, text: impl Into<String>) -> Goodbye {
        Goodbye { code, text: text.into() }
    }
}
