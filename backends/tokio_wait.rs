//! Waiting for the events of a server in a runtime of tokio, where this system has a waitable for them.

use crate::message_server::MessageServer;
use std::io;
use std::task::{Context, Poll};
use std::time::Instant;

#[cfg(unix)]
mod os {
    use crate::Waitable;
    use crate::backends::tokio_io::TokioTimer;
    use std::io;
    use std::task::{Context, Poll};
    use std::time::{Duration, Instant};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    /// A server's waitable, and a timer.
    pub(crate) struct TokioWait {
        waitable: AsyncFd<Waitable>,
        timer: TokioTimer,
    }

    impl TokioWait {
        /// `None`: this system has none.
        ///
        /// # Panics
        /// Without a runtime that drives I/O and time.
        pub fn new(waitable: Waitable) -> io::Result<Option<TokioWait>> {
            // A runtime without time is told at once, and not at the first deadline.
            drop(tokio::time::sleep(Duration::ZERO));
            let interest = Interest::READABLE;
            // SAFETY: the waitable owns its descriptor, which is always the same one, and is not lent to anybody who could
            // close it; it is dropped with this.
            let waitable = unsafe { AsyncFd::register_with_interest(waitable, interest)? };
            Ok(Some(TokioWait { waitable, timer: TokioTimer::default() }))
        }

        /// Ready once for each time that there may be new events, and at `until`. All events have to be taken then.
        pub fn poll(
            &mut self,
            context: &mut Context<'_>,
            until: Option<Instant>,
        ) -> Poll<io::Result<()>> {
            if let Poll::Ready(ready) = self.waitable.poll_read_ready(context) {
                // Before they are taken: those that come meanwhile make it ready again.
                return Poll::Ready(ready.map(|mut ready| ready.clear_ready()));
            }
            match until {
                Some(until) => self.timer.poll(context, until).map(Ok),
                None => Poll::Pending,
            }
        }
    }
}

#[cfg(windows)]
mod os {
    use crate::Waitable;
    use std::convert::Infallible;
    use std::io;
    use std::task::{Context, Poll};
    use std::time::Instant;

    /// There is none: a server's events come over a completion port.
    pub(crate) struct TokioWait(Infallible);

    impl TokioWait {
        pub fn new(_: Waitable) -> io::Result<Option<TokioWait>> {
            Ok(None)
        }

        pub fn poll(&mut self, _: &mut Context<'_>, _: Option<Instant>) -> Poll<io::Result<()>> {
            match self.0 {}
        }
    }
}

pub(crate) use os::TokioWait;

/// What a server waits with that runs in a task.
pub(crate) enum TaskWait {
    Tokio(TokioWait),
    /// The server itself has the task woken.
    #[cfg(feature = "test-util")]
    Simulated(crate::simulation::Timer),
}

impl TaskWait {
    /// Ready once for each time that there may be new events of this server, and at `until`. All events have to be taken
    /// then.
    pub fn poll(
        &mut self,
        messages: &impl MessageServer,
        context: &mut Context<'_>,
        until: Option<Instant>,
    ) -> Poll<io::Result<()>> {
        #[cfg(not(feature = "test-util"))]
        let _ = messages;
        match self {
            TaskWait::Tokio(wait) => wait.poll(context, until),
            #[cfg(feature = "test-util")]
            TaskWait::Simulated(timer) => {
                if !messages.watch(context.waker()) {
                    return Poll::Ready(Err(crate::simulation::cannot_watch()));
                }
                until.map_or(Poll::Pending, |until| timer.poll(context, until).map(Ok))
            }
        }
    }
}
