//! The bytes of a message or a request, owned or borrowed.
#![forbid(unsafe_code)]

use bytes::{Buf, Bytes, BytesMut};
use std::borrow::Cow;
use std::ops::Deref;

/// The bytes of a message: owned, or borrowed from the sender.
///
/// A client sends borrowed bytes without a copy. A server copies them, as it sends them later.
///
/// ```
/// use msgpipe::Body;
/// let text = String::from("notes");
/// let (borrowed, owned) = (Body::from(text.as_bytes()), Body::from(text.clone()));
/// assert_eq!(borrowed[..], owned[..]);
/// assert_eq!(borrowed.into_bytes(), "notes"); // this copies; `owned.into_bytes()` would not
/// ```
#[derive(Clone, Debug)]
pub struct Body<'a>(Repr<'a>);

#[derive(Clone, Debug)]
enum Repr<'a> {
    Owned(Bytes),
    Borrowed(&'a [u8]),
}

impl Body<'_> {
    /// The bytes, copied if they were borrowed.
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Repr::Owned(bytes) => bytes,
            Repr::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
        }
    }

    /// Drops the first `count` bytes.
    pub(crate) fn advance(&mut self, count: usize) {
        match &mut self.0 {
            Repr::Owned(bytes) => bytes.advance(count),
            Repr::Borrowed(bytes) => *bytes = &bytes[count..],
        }
    }
}

impl Deref for Body<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Owned(bytes) => bytes,
            Repr::Borrowed(bytes) => bytes,
        }
    }
}

/// A value that can be sent as a message. `Bytes`, vectors and strings are moved, slices are borrowed.
///
/// ```
/// use msgpipe::IntoBody;
/// let name = String::from("notes");
/// assert_eq!(name.as_str().into_body()[..], b"notes"[..]);
/// assert_eq!(name.into_body().into_bytes(), "notes");
/// ```
pub trait IntoBody {
    /// The bytes to send.
    fn into_body<'a>(self) -> Body<'a>
    where
        Self: 'a;
}

macro_rules! owned_is_a_body {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Body<'_> {
            fn from(bytes: $kind) -> Self {
                Body(Repr::Owned(bytes.into()))
            }
        }

        impl IntoBody for $kind {
            fn into_body<'a>(self) -> Body<'a> {
                self.into()
            }
        }
    )*};
}

macro_rules! borrowed_is_a_body {
    ($($kind:ty),*) => {$(
        impl<'b> From<&'b $kind> for Body<'b> {
            fn from(bytes: &'b $kind) -> Self {
                Body(Repr::Borrowed(bytes.as_ref()))
            }
        }

        impl IntoBody for &$kind {
            fn into_body<'a>(self) -> Body<'a>
            where
                Self: 'a,
            {
                self.into()
            }
        }
    )*};
}

owned_is_a_body!(Bytes, BytesMut, Vec<u8>, Box<[u8]>, String);
borrowed_is_a_body!(str, [u8], String, Vec<u8>);

/// Shares the buffer: neither a copy nor a borrow.
impl IntoBody for &Bytes {
    fn into_body<'a>(self) -> Body<'a>
    where
        Self: 'a,
    {
        self.clone().into()
    }
}

impl<const N: usize> IntoBody for [u8; N] {
    fn into_body<'a>(self) -> Body<'a> {
        Bytes::copy_from_slice(&self).into()
    }
}

impl<const N: usize> IntoBody for &[u8; N] {
    fn into_body<'a>(self) -> Body<'a>
    where
        Self: 'a,
    {
        self[..].into()
    }
}

impl IntoBody for Cow<'_, str> {
    fn into_body<'a>(self) -> Body<'a>
    where
        Self: 'a,
    {
        match self {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl IntoBody for Cow<'_, [u8]> {
    fn into_body<'a>(self) -> Body<'a>
    where
        Self: 'a,
    {
        match self {
            Cow::Borrowed(bytes) => bytes.into(),
            Cow::Owned(bytes) => bytes.into(),
        }
    }
}

impl IntoBody for Body<'_> {
    fn into_body<'a>(self) -> Body<'a>
    where
        Self: 'a,
    {
        self
    }
}

/// An empty message.
impl IntoBody for () {
    fn into_body<'a>(self) -> Body<'a> {
        Bytes::new().into()
    }
}
