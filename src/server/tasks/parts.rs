//! Parts of replies and requests for handlers that are async.

use crate::body::IntoBody;
use crate::exchange::{Message, Metadata};
use crate::server::flow::Refused;
use crate::server::parts::{PartError, PartSender};
use crate::server::request_parts::{ReceiveError, RequestParts};
use bytes::Bytes;
use std::future::poll_fn;
use std::task::Poll;

impl PartSender {
    /// Sends a part once there is room for it. Feature `tokio`; it needs no runtime.
    ///
    /// **Cancel safety.** If it is dropped before its end, the part is not sent.
    ///
    /// # Errors
    /// [`PartError::Cancelled`], also once the server has ended.
    pub async fn send_async(&mut self, part: impl IntoBody) -> Result<(), PartError> {
        let metadata = self.responder.metadata.clone();
        let body = part.into_body().into_bytes();
        let mut next = Some(Message { metadata, ..Message::new(body, false) });
        poll_fn(|context| {
            if self.is_cancelled() {
                return Poll::Ready(Err(PartError::Cancelled));
            }
            let part = next.take().expect("it is polled until it is sent");
            match self.flow.push_or_watch(part, context.waker()) {
                Ok(tells) => {
                    self.tell(tells);
                    // They go with the first part.
                    self.responder.metadata = Metadata::default();
                    Poll::Ready(Ok(()))
                }
                Err(Refused::Gone) => Poll::Ready(Err(PartError::Cancelled)),
                Err(Refused::Full(part)) => {
                    next = Some(part);
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl RequestParts {
    /// Waits for the next part. `None`: the request has ended. Feature `tokio`; it needs no runtime.
    ///
    /// **Cancel safety.** If it is dropped before its end, no part is lost.
    ///
    /// # Errors
    /// [`ReceiveError::Cancelled`] and [`ReceiveError::Incomplete`].
    pub async fn next_async(&mut self) -> Result<Option<Bytes>, ReceiveError> {
        poll_fn(|context| {
            let taken = self.inflow().take_or_watch(context.waker());
            self.taken(taken).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}
