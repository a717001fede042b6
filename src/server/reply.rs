//! The replies that a handler can return.

use crate::body::IntoBody;
use crate::error::{Error, ErrorReply};
use bytes::Bytes;

/// A value that a handler can return: a body ([`IntoBody`]), or a `Result` of one. Implement it for your own
/// types.
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
    /// The bytes of the reply.
    ///
    /// # Errors
    /// The error reply for the client.
    fn into_reply(self) -> Result<Bytes, ErrorReply>;
}

impl<T: IntoBody> IntoReply for T {
    fn into_reply(self) -> Result<Bytes, ErrorReply> {
        Ok(self.into_body().into_bytes())
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

/// The error type of a handler: any error converts to it, so that `?` works on all of them. The client gets the
/// error's text with [`ErrorReply::FAILED`]; an [`ErrorReply`] keeps its own code and text, also that of another server
/// in [`Error::Answered`](crate::Error::Answered). A text alone is `ErrorReply::from("text")`.
///
/// ```no_run
/// use msgpipe::{ErrorReply, Failure, Request};
///
/// fn half(request: Request) -> Result<String, Failure> {
///     let number: u64 = std::str::from_utf8(&request.body())?.trim().parse()?;
///     if number % 2 == 1 {
///         return Err(ErrorReply::new(100, "an odd number").into());
///     }
///     Ok((number / 2).to_string())
/// }
///
/// let server = msgpipe::Server::bind("com.example.half")?;
/// server.serve(half)?;
/// # Ok::<_, msgpipe::Error>(())
/// ```
#[derive(Debug)]
pub struct Failure(ErrorReply);

impl<E: std::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Failure {
        let any = &error as &dyn std::error::Error;
        let answered = any.downcast_ref::<Error>().and_then(Error::reply);
        let reply = any.downcast_ref::<ErrorReply>().or(answered).cloned();
        Failure(reply.unwrap_or_else(|| ErrorReply::new(ErrorReply::FAILED, error.to_string())))
    }
}

impl From<Failure> for ErrorReply {
    fn from(failure: Failure) -> ErrorReply {
        failure.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(reply: impl IntoReply) -> Result<Bytes, ErrorReply> {
        reply.into_reply()
    }

    #[test]
    fn whatever_a_handler_has_at_hand_is_a_reply() {
        let text = String::from("text");
        assert_eq!(reply(b"text").unwrap(), text);
        assert_eq!(reply(&text).unwrap(), text);
        assert_eq!(reply(*b"text").unwrap(), text);
        assert_eq!(reply(&b"text"[..]).unwrap(), text);
        assert_eq!(reply(std::borrow::Cow::from("text")).unwrap(), text);
        assert_eq!(reply(()).unwrap(), "");
        assert_eq!(reply(Ok::<_, ErrorReply>(b"text")).unwrap(), text);
    }

    #[test]
    fn any_error_is_a_failure_and_an_error_reply_stays_what_it_is() {
        let parse = || -> Result<String, Failure> { Ok("x".parse::<u64>()?.to_string()) };
        let failed = reply(parse()).unwrap_err();
        assert_eq!(failed.code, ErrorReply::FAILED);
        assert!(failed.text.contains("invalid digit"), "{failed}");
        let given = || -> Result<(), Failure> { Err(ErrorReply::new(404, "no such note"))? };
        assert_eq!(reply(given()).unwrap_err(), ErrorReply::new(404, "no such note"));
        let nested = || -> Result<(), Failure> {
            let reply = ErrorReply::new(404, "no such note").with_details("7");
            Err(Error::Answered { endpoint: "another server".into(), reply })?
        };
        let expected = ErrorReply::new(404, "no such note").with_details("7");
        assert_eq!(reply(nested()).unwrap_err(), expected);
        let text = || -> Result<(), Failure> { Ok(None.ok_or(ErrorReply::from("none"))?) };
        assert_eq!(reply(text()).unwrap_err(), ErrorReply::new(ErrorReply::FAILED, "none"));
    }
}
