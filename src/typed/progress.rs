//! How far a method is.

use super::codec::Codec;
use super::error::ServiceError;
use super::method::Method;
use super::replying::{encode, error_reply, not_here};
use super::step::Step;
use crate::server::{PartError, PartSender, Responder};
use serde::Serialize;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

/// An argument of a method: with it the method tells the client how far it is. A clone is the same.
///
/// ```
/// use msgpipe::typed::{self, Progress};
///
/// #[typed::service]
/// trait Files {
///     /// Copies; the progress is in percent.
///     fn copy(&self, from: String, to: String, progress: Progress<u8>) -> Result<u64, String>;
/// }
/// # fn f(files: &FilesClient) -> Result<(), Box<dyn std::error::Error>> {
///
/// // The client has a function there:
/// files.copy("a".into(), "b".into(), |percent| println!("{percent} %"))?;
/// # Ok(())
/// # }
/// ```
pub struct Progress<P> {
    /// `None`: the method has returned.
    parts: Arc<Mutex<Option<PartSender>>>,
    codec: Codec,
    of: PhantomData<fn(P)>,
}

impl<P: Serialize> Progress<P> {
    pub(super) fn new(responder: Responder, codec: Codec) -> Progress<P> {
        let parts = Arc::new(Mutex::new(Some(responder.into_parts())));
        Progress { parts, codec, of: PhantomData }
    }

    /// Tells the client. Does not block: one that the client has no room for is dropped, as a later one says more. Returns
    /// whether it was sent.
    pub fn report(&self, progress: P) -> bool {
        let Ok(part) = self.codec.encode(&Step::<P, ()>::Progress(progress)) else { return false };
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.as_mut().is_some_and(|parts| parts.try_send(part).is_ok())
    }

    /// Whether nobody waits for the reply any more.
    pub fn is_cancelled(&self) -> bool {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.as_ref().is_none_or(PartSender::is_cancelled)
    }

    /// Sends the reply. What is reported later is dropped.
    pub(super) fn end<T: Serialize, E: ServiceError>(&self, method: &Method, answer: Result<T, E>) {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut parts) = parts else { return };
        let answer = answer.map_err(|error| error_reply(method, self.codec, &error));
        let last = answer.and_then(|it| encode(method, self.codec, &Step::<(), T>::Reply(it)));
        match last.map(|last| parts.send(last)) {
            Ok(Ok(())) => parts.finish(),
            Ok(Err(PartError::Full(_))) => parts.fail(not_here(method)),
            Ok(Err(_)) => {}
            Err(error) => parts.fail(error),
        }
    }
}

impl<P> Clone for Progress<P> {
    fn clone(&self) -> Progress<P> {
        Progress { parts: self.parts.clone(), codec: self.codec, of: PhantomData }
    }
}

impl<P> fmt::Debug for Progress<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").finish_non_exhaustive()
    }
}
