//! What may be a message or a request.
#![forbid(unsafe_code)]

use bytes::{Bytes, BytesMut};
use std::borrow::Cow;

/// Bytes to be sent, or something that is turned into them: `Bytes`, vectors and strings as they are,
/// without a copy; what is only borrowed is copied.
///
/// ```
/// use msgpipe::IntoBody;
/// let name = String::from("notes");
/// assert_eq!((&name).into_body(), "notes");
/// assert_eq!(b"notes".into_body(), name.into_body());
/// ```
pub trait IntoBody {
    /// The bytes.
    fn into_body(self) -> Bytes;
}

macro_rules! owned_is_a_body {
    ($($kind:ty),*) => {$(
        impl IntoBody for $kind {
            fn into_body(self) -> Bytes {
                self.into()
            }
        }
    )*};
}

macro_rules! borrowed_is_a_body {
    ($($kind:ty),*) => {$(
        impl IntoBody for $kind {
            fn into_body(self) -> Bytes {
                Bytes::copy_from_slice(self.as_ref())
            }
        }
    )*};
}

owned_is_a_body!(Bytes, BytesMut, Vec<u8>, Box<[u8]>, String);
borrowed_is_a_body!(&str, &[u8], &String, &Vec<u8>);

impl IntoBody for &Bytes {
    fn into_body(self) -> Bytes {
        self.clone()
    }
}

impl<const N: usize> IntoBody for [u8; N] {
    fn into_body(self) -> Bytes {
        Bytes::copy_from_slice(&self)
    }
}

impl<const N: usize> IntoBody for &[u8; N] {
    fn into_body(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

impl IntoBody for Cow<'_, str> {
    fn into_body(self) -> Bytes {
        self.into_owned().into()
    }
}

impl IntoBody for Cow<'_, [u8]> {
    fn into_body(self) -> Bytes {
        self.into_owned().into()
    }
}

/// Nothing: a message of no bytes.
impl IntoBody for () {
    fn into_body(self) -> Bytes {
        Bytes::new()
    }
}
