//! Processes that outlive the one that starts them: a server that a client starts on demand.
//!
//! What differs between systems: how a process is detached from the terminal and the descriptors of the one that
//! starts it, how its standard error is caught, and who waits for its end.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as os;
#[cfg(windows)]
use windows as os;

pub(crate) use os::{detach, end, leave, spawn};

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// The names that are tried for a file. Each is new for this process, so one is enough unless an earlier process of
/// the same number has left files.
const NAMES: u32 = 16;

/// A new file for the standard error of a process that is being started. It has no name (Unix), or is removed when the
/// last process that has it open ends (Windows). Only this user can open it. Writes always go to its end.
pub(crate) fn nameless_file() -> io::Result<File> {
    nameless_file_in(&std::env::temp_dir())
}

fn nameless_file_in(directory: &Path) -> io::Result<File> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..NAMES {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("msgpipe-{}-{number}.stderr", std::process::id()));
        let mut options = OpenOptions::new();
        // `create_new` opens nothing that exists, and follows no link.
        options.read(true).append(true).create_new(true);
        match os::open_nameless(options, &path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            opened => return opened,
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

    #[test]
    fn a_nameless_file_is_not_in_its_directory_after_its_end() {
        let directory = std::env::temp_dir().join(format!("msgpipe.unit.{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let names = || std::fs::read_dir(&directory).unwrap().count();
        let mut file = nameless_file_in(&directory).unwrap();
        file.write_all(b"one").unwrap();
        file.rewind().unwrap();
        file.write_all(b" two").unwrap();
        let mut text = String::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one two", "writes go to the end");
        assert!(names() <= usize::from(cfg!(windows)));
        drop(file);
        assert_eq!(names(), 0);
        std::fs::remove_dir(&directory).unwrap();
    }

    #[test]
    fn a_name_that_is_taken_is_passed_over_and_not_opened() {
        let directory = std::env::temp_dir().join(format!("msgpipe.unit2.{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        // The numbers of this process count up from here: some of the next are taken.
        for number in 0..NAMES - 8 {
            let name = format!("msgpipe-{}-{number}.stderr", std::process::id());
            std::fs::write(directory.join(name), "theirs").unwrap();
        }
        drop(nameless_file_in(&directory).unwrap());
        for entry in std::fs::read_dir(&directory).unwrap() {
            assert_eq!(std::fs::read(entry.unwrap().path()).unwrap(), b"theirs");
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
