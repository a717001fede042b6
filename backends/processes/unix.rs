//! Processes on Unix: a session of their own, no inherited descriptors, and a parent that waits for them.

use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The first descriptor that is not standard input, output or error.
const FIRST_OTHER: libc::c_int = 3;

/// Where the system has no call that closes all descriptors, so many are closed. The usual limit of a process is 1024,
/// and to try 65 536 takes some milliseconds.
const MOST_DESCRIPTORS: libc::rlim_t = 65_536;

/// The stack of a thread that only waits.
const STACK: usize = 64 * 1024;

/// Detaches the processes of a command from this one: they have a session of their own, so no controlling terminal,
/// whose Ctrl-C or hang-up would end them; and of this process's descriptors they have only standard input, output and
/// error. To be called once for a command.
pub(crate) fn detach(command: &mut Command) {
    let in_the_child = || {
        // This fails only if the command has asked for a process group of its own, which Ctrl-C does not reach either.
        let _ = rustix::process::setsid();
        close_others_on_exec();
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes only system calls: setsid and fcntl, which POSIX lists as safe there,
    // and close_range and getrlimit, which it does not list, and which are single system calls in all C libraries. It
    // allocates nothing and takes no lock.
    unsafe { command.pre_exec(in_the_child) };
}

/// Descriptors of this crate and of std are closed on exec already. Others may be those of libraries in C. They are only
/// marked: std has a pipe of its own by which it reports a failed exec.
fn close_others_on_exec() {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: the call takes numbers, and closes nothing before the exec.
        let result = unsafe {
            libc::syscall(
                libc::SYS_close_range,
                FIRST_OTHER as libc::c_uint,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            )
        };
        if result == 0 {
            return;
        }
    }
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives the call.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    let most = if known == 0 { limit.rlim_cur.min(MOST_DESCRIPTORS) } else { MOST_DESCRIPTORS };
    for descriptor in FIRST_OTHER..most as libc::c_int {
        // SAFETY: the call takes numbers; for one that is not open it fails and changes nothing.
        unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Starts the process of a command that is [detached](detach).
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    command.spawn()
}

/// Children that no thread waits for, because none could be started.
static UNWAITED: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Leaves a child to itself. Its end is waited for, so that it does not stay as a zombie: by a thread with a small
/// stack, since only a parent can wait, and the signal of a child's end belongs to the application.
pub(crate) fn leave(mut child: Child) {
    let mut unwaited = UNWAITED.lock().unwrap_or_else(PoisonError::into_inner);
    unwaited.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    if !matches!(child.try_wait(), Ok(None)) {
        return;
    }
    let given = Arc::new(Mutex::new(Some(child)));
    let taken = given.clone();
    let take =
        |slot: &Mutex<Option<Child>>| slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    let waits = move || {
        if let Some(mut child) = take(&taken) {
            // It fails only if the application has waited for all its children itself.
            let _ = child.wait();
        }
    };
    let thread = thread::Builder::new().name("msgpipe-wait".to_owned()).stack_size(STACK);
    if thread.spawn(waits).is_err() {
        unwaited.extend(take(&given));
    }
}

/// Kills a child, with the processes of its group: those that a script has started for it.
pub(crate) fn end(mut child: Child) {
    // Of one that has ended, or is no child any more, the number may be another process's.
    if !matches!(child.try_wait(), Ok(None)) {
        return;
    }
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.kill();
    leave(child);
}

/// Opens the file and removes its name.
pub(super) fn open_nameless(mut options: OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.mode(0o600).open(path)?;
    fs::remove_file(path)?;
    Ok(file)
}
