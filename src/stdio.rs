//! The standard streams of this process as a `ByteStream`.
#![forbid(unsafe_code)]

use crate::backends;
use crate::byte_stream::ByteStream;
use crate::error::Error;

impl ByteStream {
    /// The standard input and output of this process; see [`Server::over_stdio`](crate::Server::over_stdio). They are
    /// taken: from now on standard input is empty, and what is printed goes to the standard error.
    ///
    /// # Errors
    /// [`Error::Misuse`] if they have been taken before, or carry no connection: one of them is a terminal or a device, or
    /// this is a child of [`Client::spawn`](crate::Client::spawn). [`Error::System`] if a system call failed.
    pub fn stdio() -> Result<ByteStream, Error> {
        backends::stdio()
    }
}
