//! Tests of single parts that need an unsafe call, or a look between two system calls.

mod beside;
mod listening;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod records;
#[cfg(target_os = "linux")]
mod signals;
mod streams;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod watching;

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A deadline that only a failing test reaches.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory for one test. Dropping it removes it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("msgpipe.unit.{}.{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        rustix::fs::chmod(&path, rustix::fs::Mode::RWXU).unwrap();
        Scratch(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn connects(path: &Path) -> bool {
    UnixStream::connect(path).is_ok()
}

/// Runs `what` in a forked child. Returns its result, or the signal that killed the child. The child is a copy
/// of this process with one thread, and must not print.
fn in_child(what: impl FnOnce() -> bool) -> Result<bool, i32> {
    // SAFETY: the child runs `what` and ends; it allocates, which glibc and the others allow after a
    // fork, and takes no other lock that another thread could have held.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
    if child == 0 {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(what));
        // SAFETY: ends the child at once, without the exit handlers of its parent.
        unsafe { libc::_exit(i32::from(!matches!(outcome, Ok(true)))) };
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    let waited = unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(waited, child);
    match libc::WIFSIGNALED(status) {
        true => Err(libc::WTERMSIG(status)),
        false => Ok(libc::WEXITSTATUS(status) == 0),
    }
}

#[test]
fn the_result_of_a_child_is_returned() {
    assert_eq!(in_child(|| true), Ok(true));
    assert_eq!(in_child(|| false), Ok(false));
    assert_eq!(in_child(|| std::process::abort()), Err(libc::SIGABRT));
}
