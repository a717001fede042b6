//! How a handler learns that its work on a request may be of no more use.

use crate::counts::CallEnd;
use crate::exchange::Cancelled;
use crate::guard::guarded;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::trace::RequestSpan;
use std::fmt;
use std::sync::PoisonError;
use std::task::Waker;
use std::time::Instant;

/// Why the work on a request may be of no more use; see
/// [`Responder::on_interrupt`](super::Responder::on_interrupt).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Interrupt {
    /// The client has cancelled the call, or takes no more of its reply. The reply is dropped.
    Cancelled,
    /// The deadline of the call has passed. The reply is dropped.
    Deadline,
    /// The connection has ended, or the server. The reply is dropped.
    Closed,
    /// The server was told to stop. It still sends the reply, if that is given within
    /// [`Limits::drain`](crate::Limits::drain).
    Stopping,
}

impl From<Cancelled> for Interrupt {
    fn from(why: Cancelled) -> Interrupt {
        match why {
            Cancelled::Caller => Interrupt::Cancelled,
            Cancelled::Deadline => Interrupt::Deadline,
            Cancelled::Closed => Interrupt::Closed,
        }
    }
}

impl From<Interrupt> for CallEnd {
    fn from(why: Interrupt) -> CallEnd {
        match why {
            Interrupt::Cancelled => CallEnd::Cancelled,
            Interrupt::Deadline => CallEnd::Late,
            Interrupt::Closed | Interrupt::Stopping => CallEnd::Closed,
        }
    }
}

/// The hook of a handler.
type Hook = Box<dyn FnMut(Interrupt) + Send>;

/// What a request, its responder and the loop share.
#[derive(Default)]
pub(super) struct Watch {
    is_over: AtomicBool,
    /// When its request was begun, if somebody wants to know, and the request's method.
    pub began: Option<Instant>,
    pub method: u32,
    pub span: RequestSpan,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    hook: Option<Hook>,
    /// The task of a handler that ends with the call.
    task: Option<Waker>,
    /// What has happened and was not told.
    news: Vec<Interrupt>,
    is_stopping: bool,
    /// The call has ended: nothing more is told.
    is_done: bool,
}

impl Watch {
    pub fn new(began: Option<Instant>, method: u32, span: RequestSpan) -> Watch {
        Watch { began, method, span, ..Watch::default() }
    }

    /// Whether nobody waits for the reply.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something has happened. Each thing is told once, and nothing after the call is over.
    pub fn tell(&self, what: Interrupt) {
        let mut state = self.lock();
        let is_stop = what == Interrupt::Stopping;
        if self.is_over() || is_stop && std::mem::replace(&mut state.is_stopping, true) {
            return;
        }
        self.is_over.store(!is_stop, Ordering::SeqCst);
        state.news.push(what);
        let task = if is_stop { None } else { state.task.take() };
        drop(state);
        if let Some(task) = task {
            guarded(|| task.wake());
        }
        self.run();
    }

    /// Whether nobody waits for the reply; if not, this task is woken when that is so.
    #[cfg(feature = "tokio")]
    pub fn is_over_or_watched(&self, task: &Waker) -> bool {
        let mut state = self.lock();
        let is_same = matches!(&state.task, Some(before) if before.will_wake(task));
        let before = if is_same { None } else { state.task.replace(task.clone()) };
        let is_over = self.is_over();
        drop(state);
        drop(before);
        is_over
    }

    /// Sets the hook, which is told at once what has happened before.
    pub fn set_hook(&self, hook: Hook) {
        let before = self.lock().hook.replace(hook);
        drop(before);
        self.run();
    }

    /// Runs the hook, not under the lock. While it runs on one thread, others leave their news to that one.
    fn run(&self) {
        loop {
            let mut state = self.lock();
            if state.news.is_empty() {
                return;
            }
            let Some(mut hook) = state.hook.take() else { return };
            let news = std::mem::take(&mut state.news);
            drop(state);
            news.into_iter().for_each(|what| guarded(|| hook(what)));
            let mut state = self.lock();
            if state.is_done || state.hook.is_some() {
                drop(state);
                return guarded(|| drop(hook));
            }
            state.hook = Some(hook);
        }
    }

    /// The call has ended: the hook is dropped, which may hold the responder itself.
    pub fn finish(&self) {
        let mut state = self.lock();
        state.is_done = true;
        let hook = state.hook.take();
        drop(state);
        guarded(|| drop(hook));
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn watched() -> (Watch, mpsc::Receiver<Interrupt>) {
        let (tell, told) = mpsc::channel();
        let watch = Watch::default();
        watch.set_hook(Box::new(move |what| tell.send(what).unwrap()));
        (watch, told)
    }

    #[test]
    fn each_thing_is_told_once_and_nothing_after_the_end() {
        let (watch, told) = watched();
        for what in [Interrupt::Stopping, Interrupt::Stopping, Interrupt::Deadline] {
            watch.tell(what);
        }
        watch.tell(Interrupt::Closed);
        let told: Vec<Interrupt> = told.try_iter().collect();
        assert_eq!(told, [Interrupt::Stopping, Interrupt::Deadline]);
        assert!(watch.is_over());
    }

    #[test]
    fn a_stop_leaves_the_call_open() {
        let (watch, _told) = watched();
        watch.tell(Interrupt::Stopping);
        assert!(!watch.is_over());
    }

    #[test]
    fn a_hook_is_told_what_has_happened_before_it_was_set() {
        let watch = Watch::default();
        watch.tell(Interrupt::Stopping);
        watch.tell(Interrupt::Cancelled);
        let (tell, told) = mpsc::channel();
        watch.set_hook(Box::new(move |what| tell.send(what).unwrap()));
        let told: Vec<Interrupt> = told.try_iter().collect();
        assert_eq!(told, [Interrupt::Stopping, Interrupt::Cancelled]);
    }

    #[test]
    fn a_hook_may_interrupt_set_a_hook_and_panic() {
        let watch = std::sync::Arc::new(Watch::default());
        let (tell, told) = mpsc::channel();
        let inner = watch.clone();
        watch.set_hook(Box::new(move |what| {
            tell.send(what).unwrap();
            inner.tell(Interrupt::Closed);
            if what == Interrupt::Closed {
                let tell = tell.clone();
                inner.set_hook(Box::new(move |what| tell.send(what).unwrap()));
                std::panic::resume_unwind(Box::new("told"));
            }
        }));
        watch.tell(Interrupt::Stopping);
        let told: Vec<Interrupt> = told.try_iter().collect();
        assert_eq!(told, [Interrupt::Stopping, Interrupt::Closed]);
    }

    #[test]
    fn the_end_of_the_call_drops_the_hook() {
        let (watch, told) = watched();
        watch.finish();
        assert_eq!(told.recv(), Err(mpsc::RecvError));
        watch.tell(Interrupt::Cancelled);
    }
}
