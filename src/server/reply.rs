//! What a handler may return.

use crate::error::ErrorReply;
use bytes::Bytes;

/// Something that is a reply: bytes, a text, nothing, or a `Result` of these. Types of one's own
/// become one by implementing it.
///
/// ```
/// use bytes::Bytes;
/// use msgpipe::{ErrorReply, IntoReply};
///
/// struct Temperature(f32);
///
/// impl IntoReply for Temperature {
///     fn into_reply(self) -> Result<Bytes, ErrorReply> {
///         Ok(format!("{} degrees", self.0).into())
///     }
/// }
///
/// assert_eq!(Temperature(21.5).into_reply().unwrap(), "21.5 degrees");
/// assert_eq!("text".into_reply().unwrap(), "text");
/// let failed: Result<String, &str> = Err("no such note");
/// assert_eq!(failed.into_reply().unwrap_err(), ErrorReply::new(ErrorReply::FAILED, "no such note"));
/// ```
pub trait IntoReply {
    /// The reply's bytes, or the error to answer with.
    ///
    /// # Errors
    /// What the caller is to be told.
    fn into_reply(self) -> Result<Bytes, ErrorReply>;
}

macro_rules! bytes_are_a_reply {
    ($($kind:ty),*) => {$(
        impl IntoReply for $kind {
            fn into_reply(self) -> Result<Bytes, ErrorReply> {
                Ok(self.into())
            }
        }
    )*};
}

bytes_are_a_reply!(Bytes, Vec<u8>, String, &'static str, &'static [u8]);

impl IntoReply for () {
    fn into_reply(self) -> Result<Bytes, ErrorReply> {
        Ok(Bytes::new())
    }
}

impl<T: IntoReply, E: Into<ErrorReply>> IntoReply for Result<T, E> {
    fn into_reply(self) -> Result<Bytes, ErrorReply> {
        self.map_err(Into::into)?.into_reply()
    }
}

impl From<&str> for ErrorReply {
    fn from(text: &str) -> ErrorReply {
        ErrorReply::new(ErrorReply::FAILED, text)
    }
}

impl From<String> for ErrorReply {
    fn from(text: String) -> ErrorReply {
        ErrorReply::new(ErrorReply::FAILED, text)
    }
}
