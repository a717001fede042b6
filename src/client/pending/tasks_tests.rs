//! Tasks that wait: who is woken, and what is left of a wait.

use super::*;
use crate::exchange::Message;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Wake, Waker};
use std::time::Duration;

/// Uses the calls when it is woken, as a task does that is polled, or dropped, at once.
struct Looks {
    pending: Arc<Pending>,
    woken: AtomicUsize,
}

impl Wake for Looks {
    fn wake(self: Arc<Self>) {
        self.pending.counts();
        self.woken.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        self.pending.counts();
    }
}

fn waits() -> (Arc<Pending>, Arc<Looks>, Waker) {
    let pending = Arc::new(Pending::new(Config { queue: 1, ..Config::default() }));
    let looks = Arc::new(Looks { pending: pending.clone(), woken: AtomicUsize::new(0) });
    let waker = looks.clone().into();
    (pending, looks, waker)
}

fn notification() -> Message {
    Message::new("news".into(), false)
}

fn woken(looks: &Looks) -> usize {
    looks.woken.load(Ordering::SeqCst)
}

#[test]
fn a_wait_is_in_the_list_once_and_leaves_it() {
    let (pending, _, waker) = waits();
    pending.notify(notification()).unwrap();
    let mut keys = [None, None];
    for _ in 0..3 {
        for key in &mut keys {
            let waited = pending.wait_until(key, Until::MayNotify, None, &waker);
            assert!(matches!(waited, Waited::NotYet));
        }
        assert_eq!(pending.waiting_tasks(), 2);
    }
    pending.stop_waiting(keys[0].unwrap());
    assert_eq!(pending.waiting_tasks(), 1);
    pending.close(&CloseReason::Local);
    assert_eq!(pending.waiting_tasks(), 0);
    let waited = pending.wait_until(&mut keys[1], Until::Settled, None, &waker);
    assert!(matches!(waited, Waited::Closed(_)) && keys[1].is_none());
}

#[test]
fn a_wait_ends_at_its_deadline_and_not_before() {
    let (pending, looks, waker) = waits();
    let mut key = None;
    let at = Instant::now() + Duration::from_secs(600);
    let waited = pending.wait_until(&mut key, Until::Settled, Some(at), &waker);
    assert!(matches!(waited, Waited::NotYet));
    assert_eq!(pending.tick(at - Duration::from_nanos(1)), Some(at));
    assert_eq!((woken(&looks), pending.waiting_tasks()), (0, 1));
    assert_eq!(pending.tick(at), None);
    assert_eq!((woken(&looks), pending.waiting_tasks()), (1, 0));
    let past = Some(Instant::now());
    let waited = pending.wait_until(&mut key, Until::Settled, past, &waker);
    assert!(matches!(waited, Waited::Late) && key.is_none());
}

/// A waker that takes the lock, both when it is woken and when it is dropped, finds it free.
#[test]
fn wakers_are_woken_and_dropped_without_the_lock() {
    let (pending, looks, waker) = waits();
    assert!(pending.listen());
    assert!(pending.watch(UNASKED, &waker));
    let mut key = None;
    drop(pending.wait_until(&mut key, Until::Settled, None, &waker));
    drop((waker, looks));
    // The last of the others is dropped for this one.
    let (_, looks, waker) = waits();
    assert!(pending.watch(UNASKED, &waker));
    pending.stop_waiting(key.unwrap());
    pending.close(&CloseReason::Local);
    assert_eq!(woken(&looks), 1);
    assert!(!pending.watch(UNASKED, &waker), "there is nothing to wait for");
}
