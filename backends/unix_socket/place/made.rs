//! The identity of files, and which process created them.

use rustix::fs::Stat;
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// The identity of a file: its device and its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

impl FileId {
    /// The types of the fields differ between systems.
    #[allow(clippy::unnecessary_cast)]
    pub fn of(stat: &Stat) -> FileId {
        FileId(stat.st_dev as u64, stat.st_ino as u64)
    }

    /// The file at `path`, if there is one.
    pub fn at(path: &Path) -> Result<Option<FileId>, Errno> {
        match rustix::fs::lstat(path) {
            Ok(there) => Ok(Some(FileId::of(&there))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A process. A forked child has copies of its parent's values, and is another process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process(u32);

impl Process {
    pub fn this() -> Process {
        Process(std::process::id())
    }

    pub fn is_this(self) -> bool {
        self.0 == std::process::id()
    }
}

/// A file that a process has created.
#[derive(Debug)]
pub(super) struct Made {
    path: PathBuf,
    file: FileId,
    by: Process,
}

impl Made {
    pub fn new(path: PathBuf, stat: &Stat) -> Made {
        Made { path, file: FileId::of(stat), by: Process::this() }
    }

    /// Removes the file, if it still exists and this process created it.
    pub fn remove(&self) {
        if self.by.is_this() && FileId::at(&self.path) == Ok(Some(self.file)) {
            // If this fails the file is stale, and the next server takes it over.
            let _: Result<(), Errno> = rustix::fs::unlink(&self.path);
        }
    }
}
