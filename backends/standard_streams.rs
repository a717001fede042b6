//! The standard streams of this process, which can be taken once.

use super::os;
use crate::byte_stream::ByteStream;
use crate::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What to do where the standard streams carry no connection.
const ADVICE: &str = "start this program with Client::spawn_stdio, or over ssh; for a child of Client::spawn there is \
                      Server::inherited";

/// Standard input has been taken.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes standard input, by itself or with the output. After an error it can be tried again.
pub(super) fn take<T>(take: impl FnOnce(&Arc<str>) -> Result<T, Error>) -> Result<T, Error> {
    let endpoint = "standard input".into();
    if TAKEN.swap(true, Ordering::SeqCst) {
        let problem =
            "it has been taken before: there is one connection, so call inherited, over_stdio \
                       or ByteStream::stdio once"
                .to_owned();
        return Err(Error::Misuse { endpoint, problem });
    }
    let taken = take(&endpoint);
    if taken.is_err() {
        TAKEN.store(false, Ordering::SeqCst);
    }
    taken
}

/// Takes standard input and output as a stream.
pub(crate) fn stdio() -> Result<ByteStream, Error> {
    take(|endpoint| {
        os::check_standard_streams().map_err(|problem| Error::Misuse {
            endpoint: "standard streams".into(),
            problem: format!("{problem}: {ADVICE}"),
        })?;
        let failed = |source| Error::system(endpoint, "taking the standard streams", source);
        let (input, output) = os::take_standard_streams().map_err(failed)?;
        Ok(ByteStream::new(input, output).named("standard streams"))
    })
}
