//! The items of a request of many parts.

use super::codec::{Codec, CodecError};
use super::method::Method;
use crate::server::{ReceiveError, RequestParts};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// An argument of a method: what the client sends, item by item.
///
/// As an iterator it waits for each item without a limit, and holds its worker meanwhile: [`next_within`](Incoming::next_within)
/// has a limit. Items that are not taken make the client wait. Dropping it makes the client stop; the method can still
/// return its reply. After an error there is nothing more.
///
/// ```
/// use msgpipe::typed::{self, Incoming};
///
/// #[typed::service]
/// trait Sums {
///     fn sum(&self, numbers: Incoming<u64>) -> Result<u64, String>;
/// }
///
/// struct Adding;
///
/// impl Sums for Adding {
///     fn sum(&self, numbers: Incoming<u64>) -> Result<u64, String> {
///         let mut sum = 0;
///         for number in numbers {
///             sum += number.map_err(|error| error.to_string())?;
///         }
///         Ok(sum)
///     }
/// }
/// # fn f(sums: &SumsClient) -> Result<(), Box<dyn std::error::Error>> {
///
/// // The client has anything there that can be iterated:
/// assert_eq!(sums.sum([1, 2, 3])?, 6);
/// # Ok(())
/// # }
/// ```
#[must_use = "what is not taken makes the client wait, or stop"]
pub struct Incoming<T> {
    parts: RequestParts,
    method: &'static Method,
    codec: Codec,
    /// After an error that is no lateness.
    has_failed: bool,
    of: PhantomData<fn() -> T>,
}

/// Why there is no next item.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IncomingError {
    /// The client has gone or given up, or nothing came in time.
    #[error("{0}")]
    Receive(ReceiveError),
    /// What came is no item: method, codec, place and problem.
    #[error("{method} ({codec}): an item is wrong: {problem}")]
    Item {
        /// The method.
        method: &'static str,
        /// The form of the values.
        codec: Codec,
        /// Where in it, and why.
        problem: CodecError,
    },
}

impl<T: DeserializeOwned> Incoming<T> {
    pub(super) fn new(parts: RequestParts, method: &'static Method, codec: Codec) -> Incoming<T> {
        Incoming { parts, method, codec, has_failed: false, of: PhantomData }
    }

    /// Waits for the next item, at most for `timeout`. `None`: the client has sent all.
    ///
    /// # Errors
    /// [`IncomingError`]. After [`ReceiveError::Late`] the next one can still be waited for.
    pub fn next_within(&mut self, timeout: Duration) -> Result<Option<T>, IncomingError> {
        if self.has_failed {
            return Ok(None);
        }
        let part = self.parts.next_within(timeout);
        self.read(part)
    }

    fn read(
        &mut self,
        part: Result<Option<Bytes>, ReceiveError>,
    ) -> Result<Option<T>, IncomingError> {
        let item = match part {
            Ok(None) => return Ok(None),
            Ok(Some(part)) => self.codec.decode(&part, &PhantomData::<T>).map_err(|problem| {
                let (method, codec) = (self.method.name, self.codec);
                IncomingError::Item { method, codec, problem }
            }),
            Err(why) => Err(IncomingError::Receive(why)),
        };
        let is_late = matches!(
            item,
            Err(IncomingError::Receive(ReceiveError::Late { .. } | ReceiveError::WouldBlock))
        );
        self.has_failed = item.is_err() && !is_late;
        item.map(Some)
    }
}

impl<T: DeserializeOwned> Iterator for Incoming<T> {
    type Item = Result<T, IncomingError>;

    fn next(&mut self) -> Option<Result<T, IncomingError>> {
        if self.has_failed {
            return None;
        }
        let part = self.parts.next().transpose();
        self.read(part).transpose()
    }
}

impl<T> fmt::Debug for Incoming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("method", &self.method.name).finish_non_exhaustive()
    }
}
