//! The directories of plain names, and who can write to them.

use msgpipe::Endpoint;
use rustix::process::geteuid;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The bits of a mode with which others can write.
const WRITE: u32 = 0o022;

/// The bits of a mode that are others'.
const OTHERS: u32 = 0o077;

/// What is wrong with a directory.
pub struct Fault {
    pub text: String,
    pub what_to_do: String,
}

/// What is wrong with the directories that are there.
pub fn faults() -> Vec<Fault> {
    let usual = Path::new("/run/user").join(geteuid().as_raw().to_string());
    let chosen = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|it| it.is_absolute());
    let runtime: BTreeSet<PathBuf> = chosen.into_iter().chain([usual]).collect();
    let mut sockets: BTreeSet<PathBuf> = runtime.iter().map(|it| it.join("msgpipe")).collect();
    let located = Endpoint::name("com.example.notes").ok().and_then(|it| it.locate().ok());
    sockets.extend(located.as_deref().and_then(Path::parent).map(Path::to_owned));
    let runtime = runtime.iter().filter_map(|it| open_to(it, WRITE, "is not used for names"));
    let sockets = sockets.iter().filter_map(|it| open_to(it, OTHERS, "no server can listen there"));
    runtime.chain(sockets).collect()
}

/// A fault if others have one of these rights.
fn open_to(directory: &Path, rights: u32, so: &str) -> Option<Fault> {
    let meta = fs::metadata(directory).ok().filter(fs::Metadata::is_dir)?;
    // Another user's is the affair of that user: it is not used.
    if meta.uid() != geteuid().as_raw() || meta.mode() & rights == 0 {
        return None;
    }
    let shown = directory.display();
    let mode = meta.mode() & 0o7777;
    let what = if meta.mode() & WRITE != 0 { "write to it" } else { "look into it" };
    Some(Fault {
        text: format!("{shown} has mode {mode:o}, so others can {what}: {so}"),
        what_to_do: format!("Look at what is in it, and chmod 700 {shown}."),
    })
}
