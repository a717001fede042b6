//! What the handles of a connection share with its driver: the calls, and the bytes that are to be sent.

use super::alarm::Alarm;
use super::stage::{Stage, Taken};
use crate::async_io::WriteNow;
use crate::body::Body;
use crate::client::channel::{Filler, put_all};
use crate::client::failing;
use crate::client::given::Given;
use crate::client::lead::Inbox as _;
use crate::client::pending::{Asked, NotBegun, Outcome, Pending, Terms, Until, Waited};
use crate::client::server_message::Answers;
use crate::error::{CloseReason, Error, ErrorReply, Progress};
use crate::exchange::Settings;
use crate::framing::{Framing, SendQueue};
use crate::guard::guarded;
use crate::limits::Limits;
use crate::peer::Peer;
use bytes::Bytes;
use std::future::poll_fn;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

pub(super) struct Shared {
    pub pending: Pending,
    stage: Mutex<Stage>,
    /// What the system has been given.
    pub given: Given,
    /// The largest message that both sides take.
    largest: AtomicUsize,
    driver: Mutex<Option<Waker>>,
    /// When the driver looks for deadlines without being woken.
    pub alarm: Alarm,
    /// The driver was woken, and has not looked since.
    is_kicked: AtomicBool,
    /// There is no handle any more.
    is_released: AtomicBool,
    pub endpoint: Arc<str>,
    /// The largest body that this side sends.
    pub limit: usize,
    pub server: Peer,
    /// What deadlines are measured with.
    pub clock: fn() -> Instant,
}

impl Shared {
    pub fn new(
        framing: &dyn Framing,
        limits: &Limits,
        endpoint: Arc<str>,
        server: Peer,
        writer: Option<Box<dyn WriteNow>>,
        clock: fn() -> Instant,
    ) -> Shared {
        let pending = Pending::with_clock(limits.of_calls(), clock);
        pending.set_largest(framing.limit());
        Shared {
            pending,
            stage: Mutex::new(Stage::new(framing, writer)),
            given: Given::default(),
            largest: AtomicUsize::new(framing.limit()),
            driver: Mutex::new(None),
            alarm: Alarm::new(clock()),
            is_kicked: AtomicBool::new(false),
            is_released: AtomicBool::new(false),
            endpoint,
            limit: limits.message,
            server,
            clock,
        }
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a call. Its request is written at once if the stream can do that and no other call is in flight; several
    /// are sent by the driver, together.
    pub fn begin(&self, request: &Bytes, terms: Terms<'_>) -> Result<u32, NotBegun> {
        let deadline = terms.deadline;
        let mut stage = self.stage();
        let Stage { outbound, queue, from, .. } = &mut *stage;
        let limit = self.largest.load(Ordering::Relaxed);
        let mut filler = Filler::new(outbound, queue, *from, limit);
        let begun = self.pending.begin(&[request.clone().into()], terms, &mut filler);
        let is_alone = begun.is_ok() && !self.pending.has_more() && self.pending.own_open() == 1;
        let is_sent = is_alone && stage.write_now(&self.given);
        drop(stage);
        if !is_sent || deadline.is_some_and(|deadline| !self.alarm.is_by(deadline)) {
            self.kick();
        }
        begun.map(|ids| ids[0]).map_err(|(_, why)| why)
    }

    /// Wakes the driver: there is something to send, or a new deadline.
    pub fn kick(&self) {
        if !self.is_kicked.swap(true, Ordering::SeqCst) {
            let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(driver) = driver {
                let mut is_woken = false;
                guarded(|| {
                    driver.wake();
                    is_woken = true;
                });
                if !is_woken {
                    self.is_kicked.store(false, Ordering::SeqCst);
                }
            }
        }
    }

    /// The driver is about to look, and is woken through this from now on.
    pub fn begin_looking(&self, driver: &Waker) {
        let mut known = self.driver.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match &*known {
            Some(known) if known.will_wake(driver) => None,
            _ => known.replace(driver.clone()),
        };
        drop(known);
        drop(before);
        self.alarm.looks();
        self.is_kicked.store(false, Ordering::SeqCst);
    }

    /// There is no driver any more, and no stream.
    pub fn end_looking(&self) {
        let writer = self.stage().writer.take();
        drop(writer);
        let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(driver);
    }

    /// Whether there is something that may be sent.
    pub fn has_unsent(&self) -> bool {
        !self.stage().queue.is_empty() || self.pending.has_more()
    }

    /// Takes what is to be sent next; `emptied` is what was taken before.
    pub fn take_unsent(&self, emptied: &mut SendQueue<'static>) -> Taken {
        let mut stage = self.stage();
        if self.pending.has_more() {
            let Stage { outbound, queue, from, .. } = &mut *stage;
            put_all(&self.pending, outbound, queue, *from, self.largest.load(Ordering::Relaxed));
        }
        stage.take(emptied)
    }

    /// The largest message that the server takes is known.
    pub fn set_largest(&self, limit: Option<usize>) {
        if let Some(limit) = limit {
            self.largest.fetch_min(limit, Ordering::Relaxed);
        }
        self.pending.set_largest(self.largest.load(Ordering::Relaxed));
    }

    /// Whether there is no handle any more.
    pub fn is_released(&self) -> bool {
        self.is_released.load(Ordering::SeqCst)
    }

    /// Ends all calls, and returns the reason: the first one counts.
    pub fn end(&self, reason: CloseReason) -> CloseReason {
        self.pending.end(&reason);
        self.kick();
        self.pending.closed().unwrap_or(reason)
    }

    /// Nothing more is sent. Returns a goodbye to the server, if that is told the reason.
    pub fn last_words(&self, reason: &CloseReason) -> Option<SendQueue<'static>> {
        let mut stage = self.stage();
        let is_whole = stage.queue.is_empty();
        stage.queue = SendQueue::default();
        let why = reason.goodbye().filter(|_| is_whole)?;
        stage.outbound.goodbye(why.code, &why.text);
        Some(std::mem::take(&mut stage.outbound.queue))
    }

    /// Waits for something besides a reply, until the deadline. Dropped, it waits no more.
    pub async fn wait_until(&self, until: Until, deadline: Option<Instant>) -> Waited {
        let mut wait = Wait { shared: self, key: None };
        poll_fn(|context| {
            let task = context.waker();
            let is_new = wait.key.is_none();
            match self.pending.wait_until(&mut wait.key, until, deadline, task) {
                Waited::NotYet => {
                    if is_new && deadline.is_some() {
                        self.kick();
                    }
                    Poll::Pending
                }
                waited => Poll::Ready(waited),
            }
        })
        .await
    }

    /// Checks that the server takes a body of this size. Waits for its limit, if not every server does.
    pub async fn wait_for_limit(&self, size: usize, deadline: Instant) -> Result<(), Unfit> {
        if size > Settings::assumed().body as usize && !self.pending.is_settled() {
            match self.wait_until(Until::Settled, Some(deadline)).await {
                Waited::Closed(reason) => return Err(Unfit::Closed(reason)),
                Waited::Late => return Err(Unfit::Late),
                Waited::Met | Waited::NotYet => {}
            }
        }
        self.check_limit(size)
    }

    /// Checks a size against the limits that are known.
    pub fn check_limit(&self, size: usize) -> Result<(), Unfit> {
        match self.limit.min(self.pending.limit()) {
            limit if size > limit => Err(Unfit::TooLarge { limit }),
            _ => Ok(()),
        }
    }

    /// The error of a call that was not begun.
    pub fn not_begun(&self, why: NotBegun, request: &Bytes) -> Error {
        let body = || Body::from(request.clone());
        // The driver alone sends, so that nothing fails here.
        failing::not_begun(&self.endpoint, why, body).unwrap_or_else(|_| {
            Error::closed(&self.endpoint, CloseReason::Local, Progress::NotBegun)
        })
    }

    /// The error of a request that did not get so far that it could be begun. `given`: its time.
    pub fn unfit(&self, why: Unfit, request: &Bytes, given: Duration, began: Instant) -> Error {
        match why {
            Unfit::TooLarge { limit } => self.not_begun(NotBegun::TooLarge { limit }, request),
            Unfit::Late => Error::late(&self.endpoint, given, began, Progress::NotBegun),
            Unfit::Closed(reason) => {
                Error::closed(&self.endpoint, reason.of_open_call(), Progress::NotBegun)
            }
        }
    }

    /// The error of a call with this outcome. `time`: what it had.
    pub fn error(&self, outcome: Outcome, end: u64, began: Instant, time: Duration) -> Error {
        failing::ended(&self.endpoint, &self.given, outcome, end, began, time)
    }
}

/// Why a body is not sent.
#[derive(Debug)]
pub(super) enum Unfit {
    TooLarge {
        limit: usize,
    },
    /// The limit of the server was not known in time.
    Late,
    Closed(CloseReason),
}

/// A wait in the list of tasks. Dropped, it leaves the list.
struct Wait<'a> {
    shared: &'a Shared,
    key: Option<u64>,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.shared.pending.stop_waiting(key);
        }
    }
}

/// What keeps a connection open. With the last one the driver sends what is to be sent, and ends.
pub(super) struct Handle(Arc<Shared>);

impl Handle {
    pub fn new(shared: Arc<Shared>) -> Arc<Handle> {
        Arc::new(Handle(shared))
    }
}

impl Deref for Handle {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.is_released.store(true, Ordering::SeqCst);
        self.kick();
    }
}

impl Answers for Handle {
    fn answer(&self, id: u32, answer: Result<Bytes, ErrorReply>) {
        self.pending.answer(id, answer, self.limit);
        self.kick();
    }

    fn is_cut_off(&self, asked: &Asked) -> bool {
        self.pending.is_cut_off(asked)
    }

    fn endpoint(&self) -> &str {
        &self.endpoint
    }
}
