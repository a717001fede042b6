//! What the thread that handles a request hands on to the calls that it makes: how much time is left, and which
//! servers have a worker that waits in this chain of calls.
#![forbid(unsafe_code)]

use crate::error::{Error, ErrorReply};
use crate::exchange::Metadata;
use crate::sync::thread_local;
use crate::trace::{self, CallSpan, RequestSpan};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The key of a chain in the metadata of a request. Keys that begin with a byte 0 belong to the protocol.
const KEY: &[u8] = b"\0w";

/// The most servers in a chain: more than programs of one machine call each other, and 131 bytes of the metadata.
pub(crate) const CHAIN_MAX: usize = 16;

const ID_LEN: usize = 8;

/// The id of a server with workers, in chains. It is random: nobody else can guess it, and have requests refused
/// that are not from such a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerId([u8; ID_LEN]);

impl ServerId {
    pub fn random() -> ServerId {
        ServerId(RandomState::new().build_hasher().finish().to_le_bytes())
    }
}

/// The servers whose workers wait for a request, as they are in its metadata. A server is in it once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    ids: Bytes,
}

impl Chain {
    /// Of a request with these metadata. Bytes that are no whole id at the end are ignored.
    pub fn of(metadata: Option<&Metadata>) -> Chain {
        Chain { ids: metadata.and_then(|all| all.get(KEY)).unwrap_or_default() }
    }

    /// Whether a worker of this server waits for the request.
    pub fn contains(&self, id: ServerId) -> bool {
        self.ids.chunks_exact(ID_LEN).any(|chunk| chunk == id.0)
    }

    /// The chain of the calls that a worker of this server makes.
    pub fn with(&self, id: ServerId) -> Chain {
        match self.contains(id) {
            true => self.clone(),
            false => Chain { ids: [&self.ids[..], &id.0].concat().into() },
        }
    }

    fn len(&self) -> usize {
        self.ids.len() / ID_LEN
    }
}

/// Is told while its thread waits in a call.
pub(crate) trait Waits: Send + Sync {
    /// The thread begins to wait.
    fn blocks(&self);

    /// The thread goes on.
    fn goes_on(&self);
}

/// The handling of one request, by one thread.
#[derive(Clone)]
pub(crate) struct Handling {
    pub deadline: Option<Instant>,
    pub chain: Chain,
    pub worker: Option<Arc<dyn Waits>>,
    pub span: RequestSpan,
}

thread_local! {
    /// Without a destructor: for threads that handle nothing this is all that is looked at.
    // Clippy for Windows does not see the `const` (rust-clippy 1.96).
    #[allow(clippy::missing_const_for_thread_local)]
    static HANDLES: Cell<bool> = const { Cell::new(false) };
    #[allow(clippy::missing_const_for_thread_local)]
    static HANDLING: RefCell<Option<Handling>> = const { RefCell::new(None) };
}

/// What this thread handles; `None`: nothing.
fn handling<T>(look: impl FnOnce(&Handling) -> Option<T>) -> Option<T> {
    if !HANDLES.with(Cell::get) {
        return None;
    }
    // A thread that ends may have none any more.
    HANDLING.try_with(|it| it.borrow().as_ref().and_then(look)).ok().flatten()
}

/// While it lives, its thread handles a request.
#[must_use]
pub(crate) struct Entered {
    before: Option<Handling>,
    _span: trace::Entered,
}

impl Handling {
    /// This thread handles it from now on.
    pub fn enter(self) -> Entered {
        let span = self.span.clone().enter();
        let before = HANDLING.with(|it| it.replace(Some(self)));
        HANDLES.with(|it| it.set(true));
        Entered { before, _span: span }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        HANDLES.with(|it| it.set(self.before.is_some()));
        HANDLING.with(|it| it.replace(self.before.take()));
    }
}

/// The time of a call that is given `time` from `began` on: at most what is left of the request's.
pub(crate) fn time_left(time: Duration, began: Instant) -> Duration {
    let left = handling(|it| it.deadline).map(|at| at.saturating_duration_since(began));
    left.map_or(time, |left| left.min(time))
}

/// Why the metadata of a nested call cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmade {
    /// The chain is over [`CHAIN_MAX`].
    TooLong,
    /// The caller's own metadata leave no room for it.
    NoRoom,
}

impl Unmade {
    /// The error for a call that cannot say who waits for it.
    pub fn error(self, endpoint: &Arc<str>) -> Error {
        let endpoint = endpoint.clone();
        match self {
            Unmade::TooLong => {
                let text = format!(
                    "the workers of {CHAIN_MAX} servers wait for this call, the limit: nest fewer calls"
                );
                let reply = ErrorReply::new(ErrorReply::TOO_NESTED, text);
                Error::Answered { endpoint, reply }
            }
            Unmade::NoRoom => {
                let problem = "the metadata leave no room for what a call in a handler adds to \
                               them, up to 133 bytes: send less"
                    .to_owned();
                Error::Misuse { endpoint, problem }
            }
        }
    }
}

/// The metadata of a call's request; `None`: the caller's own. In a handler who waits for the call goes with it, and in a
/// trace its context.
pub(crate) fn outgoing(own: &Metadata, span: &CallSpan) -> Result<Option<Metadata>, Unmade> {
    Ok(span.add_to(own, metadata(own).transpose()?))
}

/// The metadata of a call in a chain; `None`: the caller's own. The chain comes first, so that an older one that the
/// caller hands on is not found.
fn metadata(own: &Metadata) -> Option<Result<Metadata, Unmade>> {
    let chain = handling(|it| (it.chain.len() > 0).then(|| it.chain.clone()))?;
    if chain.len() > CHAIN_MAX {
        return Some(Err(Unmade::TooLong));
    }
    let first = Metadata::default().with(KEY, &chain.ids);
    let all = own.pairs().filter(|(key, _)| key != KEY);
    let all = all.fold(first, |made, (key, value)| made?.with(&key, &value));
    Some(all.map_err(|_| Unmade::NoRoom))
}

/// While it lives, a worker waits in a call.
pub(crate) struct Waiting {
    worker: Arc<dyn Waits>,
}

/// This thread is about to wait for a reply. `None`: it is no worker.
pub(crate) fn wait() -> Option<Waiting> {
    let worker = handling(|it| it.worker.clone())?;
    worker.blocks();
    Some(Waiting { worker })
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.worker.goes_on();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn enter(chain: Chain) -> Entered {
        Handling { deadline: None, chain, worker: None, span: RequestSpan::default() }.enter()
    }

    fn chain(servers: usize) -> Chain {
        (0..servers).fold(Chain::default(), |chain, _| chain.with(ServerId::random()))
    }

    #[test]
    fn a_thread_that_handles_nothing_hands_nothing_on() {
        let now = Instant::now();
        assert!(metadata(&Metadata::default()).is_none() && wait().is_none());
        assert_eq!(time_left(Duration::MAX, now), Duration::MAX);
        drop(enter(chain(1)));
        assert!(metadata(&Metadata::default()).is_none());
    }

    #[test]
    fn a_chain_has_each_server_once_and_comes_back() {
        let (one, other) = (ServerId::random(), ServerId::random());
        let chain = Chain::default().with(one).with(other).with(one);
        assert_eq!(chain.len(), 2);
        let _entered = enter(chain);
        let sent = metadata(&Metadata::default()).unwrap().unwrap();
        let read = Chain::of(Some(&sent));
        assert!(read.contains(one) && read.contains(other) && !read.contains(ServerId::random()));
        assert_eq!(Chain::of(None).len(), 0);
    }

    #[test]
    fn a_chain_has_a_limit() {
        for (servers, fits) in [(CHAIN_MAX - 1, true), (CHAIN_MAX, true), (CHAIN_MAX + 1, false)] {
            let _entered = enter(chain(servers));
            match metadata(&Metadata::default()).unwrap() {
                Ok(made) => assert!(fits && Chain::of(Some(&made)).len() == servers),
                Err(why) => assert!(!fits && why == Unmade::TooLong),
            }
        }
    }

    /// A peer may send any bytes.
    #[test]
    fn what_is_no_whole_id_is_ignored() {
        let id = ServerId::random();
        for (cut, is_in) in [(0, true), (1, true), (7, true), (8, false)] {
            let mut bytes = [&[7; 8][..], &id.0, &[7; 7]].concat();
            bytes.truncate(bytes.len() - cut);
            let metadata = Metadata::default().with(KEY, &bytes).unwrap();
            assert_eq!(Chain::of(Some(&metadata)).contains(id), is_in, "{cut}");
        }
    }

    #[test]
    fn the_callers_metadata_are_kept_and_an_older_chain_is_not() {
        let older = Metadata::default().with(KEY, &[1; 8]).unwrap();
        let own = older.with(b"a", b"1").unwrap().with(b"a", b"2").unwrap();
        let id = ServerId::random();
        let _entered = enter(Chain::default().with(id));
        let sent = metadata(&own).unwrap().unwrap();
        let pairs: Vec<_> = sent.pairs().map(|(key, value)| [key, value].concat()).collect();
        assert_eq!(pairs, [[KEY, &id.0].concat(), b"a1".to_vec(), b"a2".to_vec()]);
        // 4096 bytes with the lengths: 3 and 2 and 8, and 3 and 1.
        for (size, fits) in [(4078, true), (4079, true), (4080, false)] {
            let own = Metadata::default().with(b"k", &vec![0; size]).unwrap();
            assert_eq!(metadata(&own).unwrap().is_ok(), fits, "{size}");
        }
    }

    #[test]
    fn a_call_has_at_most_the_time_that_is_left() {
        let now = Instant::now();
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        let deadline = Some(now + 2 * second);
        let _entered = Handling {
            deadline,
            chain: Chain::default(),
            worker: None,
            span: RequestSpan::default(),
        }
        .enter();
        assert_eq!(time_left(second, now), second);
        assert_eq!(time_left(hour, now), 2 * second);
        assert_eq!(time_left(hour, now + second), second);
        assert_eq!(time_left(hour, now + hour), Duration::ZERO);
        // What one request in another has is not kept.
        drop(enter(Chain::default()));
        assert_eq!(time_left(hour, now), 2 * second);
    }

    struct Counts(AtomicUsize);

    impl Waits for Counts {
        fn blocks(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }

        fn goes_on(&self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_worker_is_told_while_its_thread_waits() {
        let counts = Arc::new(Counts(AtomicUsize::new(0)));
        let worker = Some(counts.clone() as Arc<dyn Waits>);
        let _entered =
            Handling { deadline: None, chain: chain(1), worker, span: RequestSpan::default() }
                .enter();
        let waiting = wait();
        assert_eq!(counts.0.load(Ordering::SeqCst), 1);
        drop(waiting);
        assert_eq!(counts.0.load(Ordering::SeqCst), 0);
        // Another thread is not this worker.
        assert!(std::thread::spawn(|| wait().is_none()).join().unwrap());
    }
}
