//! What is published goes to all who have subscribed, each in the form of its call.

use super::codec::{Codec, CodecError};
use super::method::Method;
use super::replying::encode;
use crate::error::ErrorReply;
use crate::server::{self, Published, Responder, WhenFull};
use serde::Serialize;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

/// An argument of a method, for [`Topic::subscribe`]: the client that subscribes. Dropped without that, its call ends with
/// an error.
///
/// ```
/// use msgpipe::typed::{self, Subscriber, Topic};
///
/// #[typed::service]
/// trait News {
///     fn watch(&self, news: Subscriber<String>);
/// }
///
/// #[derive(Default)]
/// struct Paper {
///     news: Topic<String>,
/// }
///
/// impl News for Paper {
///     fn watch(&self, news: Subscriber<String>) {
///         self.news.subscribe(news);
///     }
/// }
/// # fn f(paper: &Paper, client: &NewsClient) -> Result<(), Box<dyn std::error::Error>> {
///
/// paper.news.publish(&"it rains".to_owned())?; // to all who watch
///
/// for news in client.watch()? {
///     println!("{:?}", news?);
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a subscriber that is dropped is answered with an error"]
pub struct Subscriber<T> {
    slot: Slot,
    method: &'static Method,
    codec: Codec,
    of: PhantomData<fn(T)>,
}

/// Whoever takes the responder answers.
#[derive(Clone)]
pub struct Slot(Arc<Mutex<Option<Responder>>>);

impl Slot {
    pub(super) fn take(&self) -> Option<Responder> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<T> Subscriber<T> {
    pub(super) fn new(
        responder: Responder,
        method: &'static Method,
        codec: Codec,
    ) -> (Subscriber<T>, Slot) {
        let slot = Slot(Arc::new(Mutex::new(Some(responder))));
        (Subscriber { slot: slot.clone(), method, codec, of: PhantomData }, slot)
    }
}

impl<T> fmt::Debug for Subscriber<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("method", &self.method.name).finish_non_exhaustive()
    }
}

/// A topic of values: a [`Topic`](crate::Topic) for each codec. Cheap to clone; a clone is the same topic.
pub struct Topic<T> {
    topics: [server::Topic; 2],
    of: PhantomData<fn(T)>,
}

impl<T: Serialize> Topic<T> {
    /// A topic without subscribers. `when_full` says what becomes of those that do not take what is published.
    pub fn new(when_full: WhenFull) -> Topic<T> {
        let topics = [server::Topic::new(when_full), server::Topic::new(when_full)];
        Topic { topics, of: PhantomData }
    }

    fn of(&self, codec: Codec) -> &server::Topic {
        match codec {
            Codec::MessagePack => &self.topics[0],
            Codec::Json => &self.topics[1],
        }
    }

    /// Subscribes a client: its reply is what is published from now on. Does not block.
    pub fn subscribe(&self, subscriber: Subscriber<T>) {
        if let Some(responder) = subscriber.slot.take() {
            self.of(subscriber.codec).subscribe(responder);
        }
    }

    /// As [`subscribe`](Topic::subscribe), with a first value for this client alone: the state, of which the others are the
    /// changes. Call it while the state cannot change, and publish the changes so, too: then none is lost or comes twice.
    pub fn subscribe_with(&self, subscriber: Subscriber<T>, first: &T) {
        let Some(responder) = subscriber.slot.take() else { return };
        match encode(subscriber.method, subscriber.codec, first) {
            Ok(first) => self.of(subscriber.codec).subscribe_with(responder, first),
            Err(error) => responder.reply(Err::<String, ErrorReply>(error)),
        }
    }

    /// Publishes to all subscribers; see [`Topic::publish`](crate::Topic::publish). The value is encoded once for each codec that
    /// has subscribers.
    ///
    /// # Errors
    /// It cannot be encoded; then it was published to those of another codec at most.
    pub fn publish(&self, value: &T) -> Result<Published, CodecError> {
        let mut all = Published::default();
        for codec in [Codec::MessagePack, Codec::Json] {
            let topic = self.of(codec);
            if topic.subscribers() > 0 {
                let published = topic.publish(codec.encode(value)?);
                all.queued += published.queued;
                all.dropped += published.dropped;
                all.closed += published.closed;
            }
        }
        Ok(all)
    }

    /// How many clients have subscribed.
    pub fn subscribers(&self) -> usize {
        self.topics.iter().map(server::Topic::subscribers).sum()
    }

    /// Ends all subscriptions after what waits. Later ones are taken again.
    pub fn finish(&self) {
        self.topics.iter().for_each(server::Topic::finish);
    }
}

impl<T: Serialize> Default for Topic<T> {
    fn default() -> Topic<T> {
        Topic::new(WhenFull::default())
    }
}

impl<T> Clone for Topic<T> {
    fn clone(&self) -> Topic<T> {
        Topic { topics: self.topics.clone(), of: PhantomData }
    }
}

impl<T> fmt::Debug for Topic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topic").field(&self.topics).finish()
    }
}
