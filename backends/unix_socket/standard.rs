//! The standard streams of this process.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The first number that is no standard stream's.
const FIRST: i32 = 3;

/// A standard stream. It may be in non-blocking mode, as others may share its open file description: then it is waited
/// for. The mode is not changed, for the same reason.
pub(crate) struct Standard(File);

impl Standard {
    fn retry(
        &mut self,
        for_what: PollFlags,
        mut act: impl FnMut(&mut File) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match act(&mut self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut polled = [PollFd::new(&self.0, for_what)];
                    match poll(&mut polled, None) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                done => return done,
            }
        }
    }
}

impl Read for Standard {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.retry(PollFlags::IN, |file| file.read(buffer))
    }
}

impl Write for Standard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.retry(PollFlags::OUT, |file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes standard input and output. In their places are then /dev/null and the standard error. After an error they are
/// as before.
pub(crate) fn take_standard_streams() -> io::Result<(Standard, Standard)> {
    let output = duplicate(io::stdout().as_fd())?;
    let input = duplicate_input()?;
    empty_input()?;
    if let Err(error) = rustix::stdio::dup2_stdout(io::stderr()) {
        let _ = rustix::stdio::dup2_stdin(&input);
        return Err(error.into());
    }
    Ok((Standard(input.into()), Standard(output.into())))
}

/// A second descriptor of standard input.
pub(super) fn duplicate_input() -> io::Result<OwnedFd> {
    duplicate(io::stdin().as_fd())
}

/// Puts /dev/null in the place of standard input.
pub(super) fn empty_input() -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, Mode::empty())?;
    Ok(rustix::stdio::dup2_stdin(&null)?)
}

/// A descriptor that child processes do not inherit.
fn duplicate(stream: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(fcntl_dupfd_cloexec(stream, FIRST)?)
}
