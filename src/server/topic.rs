//! Topics: what is published goes to all clients that have subscribed.

use super::Interrupt;
use super::flow::{Ending, Flow, Refused};
use super::outbox::{Given, is_any_loop};
use super::responder::Responder;
use crate::body::IntoBody;
use crate::error::ErrorReply;
use crate::exchange::{Message, Metadata};
use crate::nesting;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, TryLockError, Weak};

/// What a [`Topic`] does with a subscriber that does not take what is published, once up to 512 KiB of it wait here,
/// and up to 256 KiB of all that the client takes slowly in the server's loop; see
/// [`PartSender`](super::PartSender).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// Ends its subscription with [`ErrorReply::LAGGED`]. The default: nothing is lost without the subscriber knowing it, and
    /// nobody waits for it. It can subscribe again, and read the state anew.
    #[default]
    Close,
    /// Drops the oldest messages that wait here for the new one. For states, of which the last one counts.
    DropOldest,
    /// Drops the new message.
    DropNewest,
    /// Makes the publisher wait, and so all other subscribers. For subscribers that are trusted.
    Wait,
}

/// A topic: clients subscribe with a call whose reply are the messages that are published from then on. Cheap to clone;
/// a clone is the same topic.
///
/// A client takes the messages with [`Client::stream`](crate::Client::stream), and ends its subscription by dropping
/// it. All subscribers get the messages of one topic in the same order. A server that is told to stop ends the
/// subscriptions after what waits.
///
/// ```no_run
/// use msgpipe::{Server, Topic, WhenFull};
/// let news = Topic::new(WhenFull::Close);
/// let publisher = news.clone();
/// std::thread::spawn(move || {
///     for number in 0.. {
///         publisher.publish(format!("news {number}"));
///         std::thread::sleep(std::time::Duration::from_secs(1));
///     }
/// });
/// let server = Server::bind("com.example.news")?;
/// server.serve_deferred(move |request, responder| match &request.body()[..] {
///     b"subscribe" => news.subscribe(responder),
///     _ => responder.reply("subscribe to hear the news"),
/// })?;
/// # Ok::<_, msgpipe::Error>(())
/// ```
#[derive(Clone)]
pub struct Topic {
    shared: Arc<Shared>,
    when_full: WhenFull,
}

struct Shared {
    /// One publishes at a time: the order is the same for all.
    publishing: Mutex<()>,
    subscribers: Mutex<BTreeMap<u64, Arc<Subscriber>>>,
    next: AtomicU64,
}

struct Subscriber {
    responder: Responder,
    /// Of the responder, for its first message.
    metadata: Mutex<Metadata>,
    flow: Arc<Flow>,
}

/// What became of a message that was published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// For how many subscribers it was queued.
    pub queued: usize,
    /// How many messages were dropped: this one, or older ones in its favour.
    pub dropped: usize,
    /// How many subscriptions were ended because they were too slow.
    pub closed: usize,
}

impl Topic {
    /// A topic without subscribers.
    pub fn new(when_full: WhenFull) -> Topic {
        let (publishing, subscribers, next) = Default::default();
        Topic { shared: Arc::new(Shared { publishing, subscribers, next }), when_full }
    }

    /// Subscribes the caller of a request: its reply are the messages from now on. Does not block. The topic takes the
    /// place of a hook that was set with [`Responder::on_interrupt`].
    pub fn subscribe(&self, responder: Responder) {
        self.add(responder, None);
    }

    /// As [`subscribe`](Topic::subscribe), with a first message for this subscriber alone: the state, of which the
    /// messages are the changes. With [`WhenFull::DropOldest`] it is the first to be dropped.
    ///
    /// ```no_run
    /// # let (topic, state) = (msgpipe::Topic::default(), std::sync::Mutex::new(String::new()));
    /// let server = msgpipe::Server::bind("com.example.news")?;
    /// server.serve_deferred(move |_, responder| {
    ///     // Whoever changes the state publishes under the same lock: no change is lost or comes twice.
    ///     let state = state.lock().unwrap();
    ///     topic.subscribe_with(responder, state.clone());
    /// })?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn subscribe_with(&self, responder: Responder, first: impl IntoBody) {
        self.add(responder, Some(first.into_body().into_bytes()));
    }

    fn add(&self, responder: Responder, first: Option<Bytes>) {
        let (mut responder, flow) = responder.into_flow();
        let metadata = Mutex::new(std::mem::take(&mut responder.metadata));
        let subscriber = Arc::new(Subscriber { responder, metadata, flow });
        if let Some(first) = first {
            // It has room for one message at least.
            let _ = subscriber.push(first, WhenFull::DropNewest);
        }
        let key = self.shared.next.fetch_add(1, Ordering::Relaxed);
        self.shared.subscribers().insert(key, subscriber.clone());
        let shared = Arc::downgrade(&self.shared);
        // Whatever happens ends the subscription.
        subscriber.responder.on_interrupt(move |why| Shared::leaves(&shared, key, why));
    }

    /// Publishes a message to all subscribers. Blocks only with [`WhenFull::Wait`], while a subscriber is too slow; but
    /// not on the server's own thread, where it drops the message for that subscriber instead.
    ///
    /// A message over the limit of a subscriber ends its subscription with [`ErrorReply::REPLY_TOO_LARGE`].
    pub fn publish(&self, message: impl IntoBody) -> Published {
        let message = message.into_body().into_bytes();
        let mut published = Published::default();
        let all = self.shared.snapshot();
        let Some(one_at_a_time) = self.turn() else {
            all.iter().for_each(|(_, subscriber)| subscriber.responder.count_dropped(1));
            published.dropped = all.len();
            return published;
        };
        for (key, subscriber) in all {
            match subscriber.push(message.clone(), self.when_full) {
                Ok(dropped) => {
                    published.queued += 1;
                    published.dropped += dropped;
                    subscriber.responder.count_dropped(dropped);
                }
                Err(Refused::Full(_)) if self.when_full == WhenFull::Close => {
                    published.closed += 1;
                    let text = "the subscriber was too slow: subscribe again";
                    let error = ErrorReply::new(ErrorReply::LAGGED, text);
                    self.shared.end(key, Ending::Failed(error.into()));
                }
                Err(Refused::Full(_)) => {
                    published.dropped += 1;
                    subscriber.responder.count_dropped(1);
                }
                Err(Refused::Gone) => self.shared.end(key, Ending::Broken),
            }
        }
        drop(one_at_a_time);
        published
    }

    /// Waits for its turn. `None`: this is the loop of a server, which must not wait for a publisher that waits.
    fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        match is_any_loop() && self.when_full == WhenFull::Wait {
            true => match self.shared.publishing.try_lock() {
                Err(TryLockError::WouldBlock) => None,
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Ok(turn) => Some(turn),
            },
            false => Some(self.shared.publishing.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// How many clients have subscribed.
    pub fn subscribers(&self) -> usize {
        self.shared.subscribers().len()
    }

    /// Ends all subscriptions after what waits. Later ones are taken again.
    pub fn finish(&self) {
        for (key, _) in self.shared.snapshot() {
            self.shared.end(key, Ending::Complete);
        }
    }
}

impl Default for Topic {
    fn default() -> Topic {
        Topic::new(WhenFull::default())
    }
}

impl Shared {
    /// Held only for a look: never while something blocks.
    fn subscribers(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Subscriber>>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshot(&self) -> Vec<(u64, Arc<Subscriber>)> {
        self.subscribers().iter().map(|(key, it)| (*key, it.clone())).collect()
    }

    fn end(&self, key: u64, ending: Ending) {
        let subscriber = self.subscribers().remove(&key);
        if let Some(subscriber) = subscriber {
            subscriber.end(ending);
        }
    }

    fn leaves(shared: &Weak<Shared>, key: u64, why: Interrupt) {
        if let Some(shared) = shared.upgrade() {
            match why {
                Interrupt::Stopping => shared.end(key, Ending::Complete),
                // The loop is told too: until then the call counts as open.
                _ => shared.end(key, Ending::Broken),
            }
        }
    }
}

impl Drop for Shared {
    /// Nobody can publish any more.
    fn drop(&mut self) {
        let subscribers = std::mem::take(&mut *self.subscribers());
        subscribers.into_values().for_each(|it| it.end(Ending::Complete));
    }
}

impl Subscriber {
    /// Returns how many older messages were dropped.
    fn push(&self, message: Bytes, when_full: WhenFull) -> Result<usize, Refused> {
        let metadata =
            std::mem::take(&mut *self.metadata.lock().unwrap_or_else(PoisonError::into_inner));
        let message = Message { metadata, ..Message::new(message, false) };
        let (tells, dropped) = match when_full {
            WhenFull::DropOldest => self.flow.push_over(message)?,
            WhenFull::Wait if !is_any_loop() => {
                let _waiting = nesting::wait();
                (self.flow.push(message, true)?, 0)
            }
            _ => (self.flow.push(message, false)?, 0),
        };
        self.tell(tells);
        Ok(dropped)
    }

    fn end(&self, ending: Ending) {
        let tells = self.flow.end(ending);
        self.tell(tells);
    }

    fn tell(&self, tells: bool) {
        if tells {
            self.responder.give(Given::Parts(self.flow.clone()));
        }
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topic")
            .field("subscribers", &self.subscribers())
            .field("when_full", &self.when_full)
            .finish()
    }
}
