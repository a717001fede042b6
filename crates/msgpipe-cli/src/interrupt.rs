//! Ctrl-C, and the system's wish that the process ends: a server is stopped, which removes its socket as at any other end.

use crate::exit::Exit;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Stop = Box<dyn FnOnce() + Send>;

/// What is to be stopped. It is made before there is anything: what is made meanwhile leaves nothing behind.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    has_come: bool,
    stop: Option<Stop>,
}

impl Interrupt {
    /// From now on Ctrl-C does not end the process.
    pub fn install() -> Result<Interrupt, Exit> {
        let interrupt = Interrupt::default();
        let here = interrupt.clone();
        ctrlc::set_handler(move || here.comes()).map_err(|error| {
            Exit::System("setting what Ctrl-C does".to_owned(), std::io::Error::other(error))
        })?;
        Ok(interrupt)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn comes(&self) {
        let mut state = self.lock();
        state.has_come = true;
        let stop = state.stop.take();
        drop(state);
        if let Some(stop) = stop {
            stop();
        }
    }

    /// What ends what has just been made: at once, if Ctrl-C has come before.
    pub fn stops(&self, stop: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        if !state.has_come {
            state.stop = Some(Box::new(stop));
            return;
        }
        drop(state);
        stop();
    }

    pub fn has_come(&self) -> bool {
        self.lock().has_come
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_that_comes_before_there_is_a_server_stops_it_too() {
        for comes_before in [false, true] {
            let (interrupt, stopped) = (Interrupt::default(), Arc::new(AtomicUsize::new(0)));
            let count = stopped.clone();
            if comes_before {
                interrupt.comes();
            }
            interrupt.stops(move || {
                count.fetch_add(1, Ordering::SeqCst);
            });
            assert_eq!(interrupt.has_come(), comes_before);
            assert_eq!(stopped.load(Ordering::SeqCst), usize::from(comes_before));
            interrupt.comes();
            interrupt.comes();
            assert_eq!((interrupt.has_come(), stopped.load(Ordering::SeqCst)), (true, 1));
        }
    }
}
