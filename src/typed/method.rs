//! What is known of a method before any call.

use super::error::{CallError, Mismatch};
use crate::monitor::is_reserved;

/// How often a method is sent and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// One request, one reply.
    Unary,
    /// A reply of many parts.
    Replies,
    /// A request of many parts: [`Incoming`](super::Incoming).
    Upload,
    /// Both.
    Duplex,
    /// One reply, and progress until then: [`Progress`](super::Progress).
    Progress,
    /// What is published from now on: [`Subscriber`](super::Subscriber).
    Subscription,
    /// No reply.
    OneWay,
}

impl Kind {
    /// In the description of an interface.
    pub(super) fn text(self) -> &'static str {
        match self {
            Kind::Unary => "call",
            Kind::Replies => "replies",
            Kind::Upload => "upload",
            Kind::Duplex => "duplex",
            Kind::Progress => "progress",
            Kind::Subscription => "subscription",
            Kind::OneWay => "one way",
        }
    }
}

/// A method of a service.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    pub(super) name: &'static str,
    pub(super) number: u32,
    /// The names of its arguments.
    pub(super) arguments: &'static [&'static str],
    pub(super) kind: Kind,
    pub(super) is_idempotent: bool,
}

impl Method {
    /// For the code that the attribute makes.
    pub const fn new(
        name: &'static str,
        arguments: &'static [&'static str],
        kind: Kind,
        is_idempotent: bool,
    ) -> Method {
        Method { name, number: number(name), arguments, kind, is_idempotent }
    }

    pub(super) fn mismatch<E>(&self, mismatch: Mismatch) -> CallError<E> {
        CallError::Mismatch(Box::new(Mismatch { method: self.name, ..mismatch }))
    }
}

/// The number of the method of this name on the wire: FNV-1a with 32 bits of the name in UTF-8. A hash of 0, which would mean no
/// method, becomes 1; one of the last 256 numbers, which are [reserved](crate::monitor::is_reserved), becomes that less 256.
///
/// ```
/// assert_eq!(msgpipe::typed::number("Notes.add"), 0xf7a6_1617);
/// ```
pub const fn number(name: &str) -> u32 {
    let (bytes, mut at, mut hash) = (name.as_bytes(), 0, 0x811c_9dc5_u32);
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    match hash {
        0 => 1,
        hash if is_reserved(hash) => hash - 256,
        hash => hash,
    }
}

/// The [reserved method](crate::monitor::DESCRIBE) by which a server says what it serves; see [`Interface`](super::Interface).
pub(super) static DESCRIBE_METHOD: Method = Method {
    name: "msgpipe.describe",
    number: crate::monitor::DESCRIBE,
    arguments: &[],
    kind: Kind::Unary,
    is_idempotent: true,
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The known values of FNV-1a.
    #[test]
    fn the_number_is_that_of_fnv_1a() {
        assert_eq!(number(""), 0x811c_9dc5);
        assert_eq!(number("a"), 0xe40c_292c);
        assert_eq!(number("foobar"), 0xbf9c_f968);
        // Their hashes are 0xffff_feff, 0xffff_ff00 and 0xffff_ffff; the last two are among those of tools.
        assert_eq!(number("N.pxicbhvn"), 0xffff_feff);
        assert_eq!(number("N.kscmaihk"), 0xffff_fe00);
        assert_eq!(number("N.yiyrails"), 0xffff_feff);
    }
}
