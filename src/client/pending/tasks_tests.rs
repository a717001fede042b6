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

/// So also of the task that listened, and listens no more.
#[test]
fn the_end_of_listening_drops_its_waker_without_the_lock() {
    let (pending, looks, waker) = waits();
    let (other, ..) = waits();
    // The last of this waker is dropped by the other calls, and looks at them.
    let ends = Arc::new(Looks { pending: other.clone(), woken: AtomicUsize::new(0) });
    assert!(other.listen());
    assert!(other.watch(UNASKED, &ends.into()));
    other.stop_listening();
    drop((pending, looks, waker));
}

/// A wait is for what was asked for last, until the time that was said last.
#[test]
fn a_wait_can_change_what_it_is_for() {
    let (pending, looks, waker) = waits();
    let mut key = None;
    let hour = Instant::now() + Duration::from_secs(3600);
    assert!(matches!(pending.wait_until(&mut key, Until::Settled, None, &waker), Waited::NotYet));
    pending.notify(notification()).unwrap();
    let waited = pending.wait_until(&mut key, Until::MayNotify, Some(hour), &waker);
    assert!(matches!(waited, Waited::NotYet));
    assert_eq!((pending.tick(Instant::now()), pending.waiting_tasks()), (Some(hour), 1));
    assert!(pending.fill(&mut |_, _| Some(0)), "the settings");
    assert!(pending.fill(&mut |_, _| Some(0)), "the notification");
    pending.tick(Instant::now());
    assert_eq!((woken(&looks), pending.waiting_tasks()), (1, 0));
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker's own fault");
    }
}

/// A waker that panics keeps the others neither from being woken nor from what they wait for.
#[test]
fn a_waker_that_panics_keeps_nothing_from_others() {
    let (pending, looks, waker) = waits();
    let mut keys = [None, None, None];
    let panics: Waker = Arc::new(Panics).into();
    for (key, waker) in keys.iter_mut().zip([&panics, &waker, &panics]) {
        assert!(matches!(pending.wait_until(key, Until::Settled, None, waker), Waited::NotYet));
    }
    pending.close(&CloseReason::Local);
    assert_eq!((woken(&looks), pending.waiting_tasks()), (1, 0));
}

/// As many tasks may wait as there are: a wait costs the same among many.
#[test]
fn many_tasks_wait_and_go() {
    let (pending, looks, waker) = waits();
    let mut keys = vec![None; 100_000];
    for round in 0..3 {
        for key in &mut keys {
            assert!(matches!(
                pending.wait_until(key, Until::Settled, None, &waker),
                Waited::NotYet
            ));
        }
        assert_eq!(pending.waiting_tasks(), keys.len(), "{round}");
    }
    for key in keys.drain(..50_000).rev() {
        pending.stop_waiting(key.unwrap());
    }
    pending.close(&CloseReason::Local);
    assert_eq!((woken(&looks), pending.waiting_tasks()), (50_000, 0));
}
