//! A client as a service.

use crate::client::driven::{Client, Place, Places};
use crate::error::Error;
use bytes::Bytes;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use tower_service::Service;

/// A [client](Client) as a `tower::Service` of requests: each call is one of the client, with its method, metadata and
/// time.
///
/// It is ready when one more call may be in flight ([`Limits::in_flight`](crate::Limits::in_flight)), and keeps that place until
/// it is called or dropped, or its future was dropped before its first poll. A clone is not ready; it waits for a place of its
/// own. Who waits for a place has none before it polls again: a service that is not polled any more keeps nothing from the
/// others.
///
/// [`tower`](super) has an example.
pub struct ClientService {
    places: Places,
    place: Option<Place>,
}

impl ClientService {
    /// A service of this client's calls. Its other handles can be used beside it.
    pub fn new(client: Client) -> ClientService {
        ClientService { places: Places::new(client), place: None }
    }

    /// The client.
    pub fn client(&self) -> &Client {
        self.places.client()
    }
}

impl Clone for ClientService {
    fn clone(&self) -> ClientService {
        ClientService::new(self.client().clone())
    }
}

impl fmt::Debug for ClientService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (client, is_ready) = (self.client(), self.place.is_some());
        f.debug_struct("ClientService")
            .field("client", client)
            .field("is_ready", &is_ready)
            .finish_non_exhaustive()
    }
}

impl Service<Bytes> for ClientService {
    type Response = Bytes;
    type Error = Error;
    type Future = Reply;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if let (Some(_), Some(_)) = (&self.place, self.client().close_reason()) {
            // The error says why.
            self.place = None;
        }
        if self.place.is_none() {
            match self.places.poll(context) {
                Poll::Ready(place) => self.place = Some(place?),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Without a place, as of one that was not ready, the call may fail with [`Error::TooManyCalls`].
    fn call(&mut self, request: Bytes) -> Reply {
        let (client, place) = (self.client().clone(), self.place.take());
        Reply(Box::pin(async move {
            match place {
                Some(place) => client.call_in(place, request).await,
                None => client.call(request).await,
            }
        }))
    }
}

/// The future of a reply. Dropping it cancels the call.
pub struct Reply(Pin<Box<dyn Future<Output = Result<Bytes, Error>> + Send>>);

impl Future for Reply {
    type Output = Result<Bytes, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Bytes, Error>> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}
