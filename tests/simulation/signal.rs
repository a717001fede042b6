//! A value that is given once, and waited for.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

pub struct Signal<T = ()>(Arc<Mutex<(Option<T>, Option<Waker>)>>);

impl<T> Clone for Signal<T> {
    fn clone(&self) -> Signal<T> {
        Signal(self.0.clone())
    }
}

impl<T> Default for Signal<T> {
    fn default() -> Signal<T> {
        Signal(Arc::new(Mutex::new((None, None))))
    }
}

impl<T> Signal<T> {
    pub fn give(&self, value: T) {
        let mut state = self.0.lock().unwrap();
        state.0 = Some(value);
        let waits = state.1.take();
        drop(state);
        if let Some(waits) = waits {
            waits.wake();
        }
    }

    pub async fn taken(&self) -> T {
        poll_fn(|context| {
            let mut state = self.0.lock().unwrap();
            match state.0.take() {
                Some(value) => Poll::Ready(value),
                None => {
                    state.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}
