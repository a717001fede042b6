//! Where an endpoint's socket is on this system, for this user, now.

use super::directory::is_safe;
use super::identity::effective_user;
use crate::endpoint::{Endpoint, Runtime, SocketAddress};
use crate::error::Error;
use rustix::net::SocketAddrUnix;
use std::env;
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The bytes of a socket's path without its terminating zero: 108 with it on Linux (`unix(7)`),
/// 104 on the BSDs and on macOS (`sys/un.h`).
const PATH_MAX: usize =
    if cfg!(any(target_os = "linux", target_os = "android")) { 107 } else { 103 };

const HAS_ABSTRACT: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// What the directories of plain names depend on.
trait Surroundings {
    fn uid(&self) -> u32;
    /// `$XDG_RUNTIME_DIR`.
    fn variable(&self) -> Option<PathBuf>;
    /// The system's own directory for what runs for a user.
    fn of_the_system(&self) -> Option<PathBuf>;
    /// The user's home, from the user database and not from `$HOME`, which need not be the user's.
    fn home(&self) -> Option<PathBuf>;
    /// Whether only this user can put something there.
    fn is_safe(&self, directory: &Path) -> bool;
}

/// The directories in which a plain name may lie, in the order of `docs/PROTOCOL.md`, section 1: a
/// server binds in the first, a client looks in one after the other. None of them can be taken by
/// somebody else: what others could write to, or own, is passed over. The user database is asked only
/// by who gets so far.
fn directories<S: Surroundings>(surroundings: S) -> impl Iterator<Item = PathBuf> {
    let usual = Path::new("/run/user").join(surroundings.uid().to_string());
    let mut chosen = false;
    (0..4).filter_map(move |place| {
        // Who chose a directory of its own wants to be by itself.
        if chosen {
            return None;
        }
        let directory = match place {
            0 => surroundings.variable().filter(|chosen| *chosen != usual)?,
            1 => usual.clone(),
            2 => surroundings.of_the_system()?,
            _ => surroundings.home()?,
        };
        if !directory.is_absolute() || !surroundings.is_safe(&directory) {
            return None;
        }
        chosen = place == 0;
        Some(directory.join(if place == 3 { ".msgpipe" } else { "msgpipe" }))
    })
}

/// The addresses that an endpoint may have, the likeliest first; for all but plain names it is one. An
/// error stands for a place that cannot be used: a directory in which the name is too long for a
/// socket's path, or that there is none at all. Never empty.
pub(super) fn addresses(
    endpoint: &Endpoint,
) -> Box<dyn Iterator<Item = Result<SocketAddress, Error>>> {
    let endpoint = endpoint.clone();
    let at = |endpoint: &Endpoint, directory: Option<&Path>| {
        let runtime = Runtime { directory, path_max: PATH_MAX, has_abstract: HAS_ABSTRACT };
        endpoint.socket_address(runtime).map_err(Error::from)
    };
    if !endpoint.is_own() {
        // What a relative path means now it shall mean as long as there is a server.
        let absolute = at(&endpoint, None).and_then(|address| match address {
            SocketAddress::File { path, .. } if path.is_relative() => {
                let failed = |error| {
                    Error::system(&endpoint.to_string().into(), "looking at its directory", error)
                };
                let path = std::path::absolute(path).map_err(failed)?;
                at(&Endpoint::path(path)?, None)
            }
            address => Ok(address),
        });
        return Box::new(std::iter::once(absolute));
    }
    let mut is_empty = true;
    let steps = directories(Here).map(Some).chain([None]);
    Box::new(steps.filter_map(move |directory| match directory {
        Some(directory) => {
            is_empty = false;
            Some(at(&endpoint, Some(&directory)))
        }
        None => is_empty.then(|| Err(nowhere(&endpoint))),
    }))
}

/// The address at which a server of this endpoint would be bound.
pub(super) fn first_address(endpoint: &Endpoint) -> Result<SocketAddress, Error> {
    let mut failed = None;
    for address in addresses(endpoint) {
        match address {
            Ok(address) => return Ok(address),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Err(failed.unwrap_or_else(|| nowhere(endpoint)))
}

/// What this system calls an endpoint, here and now.
pub(crate) fn locate(endpoint: &Endpoint) -> Result<PathBuf, Error> {
    first_address(endpoint).map(|address| PathBuf::from(&*name_of(&address)))
}

fn nowhere(endpoint: &Endpoint) -> Error {
    let problem = format!(
        "user {} has no directory for plain names: neither $XDG_RUNTIME_DIR nor /run/user nor a \
         home of that user's own that only it can write to. Set XDG_RUNTIME_DIR to such a directory \
         for the server and its clients, or use Endpoint::path",
        effective_user()
    );
    super::directory::insecure(&endpoint.to_string().into(), problem)
}

/// The address in words.
pub(super) fn name_of(address: &SocketAddress) -> Arc<str> {
    match address {
        SocketAddress::File { path, .. } => path.display().to_string().into(),
        SocketAddress::Abstract(name) => format!("@{name}").into(),
    }
}

/// The address as the system takes it.
pub(super) fn system_address(address: &SocketAddress) -> io::Result<SocketAddrUnix> {
    match address {
        SocketAddress::File { path, .. } => Ok(SocketAddrUnix::new(path)?),
        #[cfg(any(target_os = "linux", target_os = "android"))]
        SocketAddress::Abstract(name) => Ok(SocketAddrUnix::new_abstract_name(name.as_bytes())?),
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        SocketAddress::Abstract(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// This process, as it is now.
struct Here;

impl Surroundings for Here {
    fn uid(&self) -> u32 {
        effective_user()
    }

    fn variable(&self) -> Option<PathBuf> {
        env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
    }

    /// `confstr(3)`, _CS_DARWIN_USER_TEMP_DIR.
    #[cfg(target_vendor = "apple")]
    fn of_the_system(&self) -> Option<PathBuf> {
        let mut path = [0u8; libc::PATH_MAX as usize];
        let name = libc::_CS_DARWIN_USER_TEMP_DIR;
        // SAFETY: the buffer has as many bytes as are said, and outlives the call.
        let len = unsafe { libc::confstr(name, path.as_mut_ptr().cast(), path.len()) };
        // With its terminating zero; 0 for an error, and more than fit if it was cut.
        if !(1..=path.len()).contains(&len) {
            return None;
        }
        let path = CStr::from_bytes_until_nul(&path).ok()?;
        Some(PathBuf::from(OsStr::from_bytes(path.to_bytes())))
    }

    #[cfg(not(target_vendor = "apple"))]
    fn of_the_system(&self) -> Option<PathBuf> {
        None
    }

    fn home(&self) -> Option<PathBuf> {
        // Where a record is longer than that, it is not asked for again (`getpwuid_r(3)`, ERANGE).
        let mut text = vec![0u8; 64 * 1024];
        let mut record = std::mem::MaybeUninit::<libc::passwd>::uninit();
        let mut found: *mut libc::passwd = std::ptr::null_mut();
        // SAFETY: the buffer has as many bytes as are said; all three outlive the call and what is
        // read of the record below.
        let failed = unsafe {
            libc::getpwuid_r(
                effective_user(),
                record.as_mut_ptr(),
                text.as_mut_ptr().cast(),
                text.len(),
                &mut found,
            )
        };
        if failed != 0 || found.is_null() {
            return None;
        }
        // SAFETY: `found` points to the record, which the call has filled in; its strings lie in the
        // buffer and end with a zero.
        let home = unsafe { CStr::from_ptr((*found).pw_dir) };
        Some(PathBuf::from(OsStr::from_bytes(home.to_bytes())))
    }

    fn is_safe(&self, directory: &Path) -> bool {
        is_safe(directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system in which these directories are safe.
    #[derive(Clone, Default)]
    struct Told {
        variable: Option<&'static str>,
        of_the_system: Option<&'static str>,
        safe: Vec<&'static str>,
    }

    impl Surroundings for Told {
        fn uid(&self) -> u32 {
            1000
        }
        fn variable(&self) -> Option<PathBuf> {
            self.variable.map(PathBuf::from)
        }
        fn of_the_system(&self) -> Option<PathBuf> {
            self.of_the_system.map(PathBuf::from)
        }
        fn home(&self) -> Option<PathBuf> {
            Some("/home/anna".into())
        }
        fn is_safe(&self, directory: &Path) -> bool {
            self.safe.iter().any(|safe| Path::new(safe) == directory)
        }
    }

    #[track_caller]
    fn lie_in(told: Told, expected: &[&str]) {
        let found: Vec<PathBuf> = directories(told).collect();
        assert_eq!(found, expected.iter().map(PathBuf::from).collect::<Vec<_>>());
    }

    const USUAL: &str = "/run/user/1000/msgpipe";
    const HOME: &str = "/home/anna/.msgpipe";

    #[test]
    fn a_session_without_the_variable_meets_one_with_it() {
        let safe = vec!["/run/user/1000", "/home/anna"];
        for variable in [None, Some("/run/user/1000"), Some("/run/user/1000/"), Some("")] {
            lie_in(Told { variable, safe: safe.clone(), ..Told::default() }, &[USUAL, HOME]);
        }
        // Before there was a session, and after.
        lie_in(Told { safe: vec!["/home/anna"], ..Told::default() }, &[HOME]);
    }

    #[test]
    fn a_directory_that_was_chosen_is_the_only_one() {
        let safe = vec!["/chosen", "/run/user/1000", "/home/anna"];
        lie_in(Told { variable: Some("/chosen"), safe, ..Told::default() }, &["/chosen/msgpipe"]);
    }

    /// One of another user's (su), one that is open to all (WSLg), one that does not exist or is no
    /// path.
    #[test]
    fn one_that_others_could_have_is_passed_over() {
        let safe = vec!["/run/user/1000", "/home/anna", "chosen"];
        for variable in ["/run/user/0", "/mnt/wslg/runtime-dir", "/tmp", "chosen"] {
            let variable = Some(variable);
            lie_in(Told { variable, safe: safe.clone(), ..Told::default() }, &[USUAL, HOME]);
        }
        lie_in(Told::default(), &[]);
    }

    #[test]
    fn the_systems_own_comes_before_the_home() {
        let (of_the_system, safe) =
            (Some("/var/folders/x/T"), vec!["/var/folders/x/T", "/home/anna"]);
        let told = Told { of_the_system, safe, ..Told::default() };
        lie_in(told, &["/var/folders/x/T/msgpipe", HOME]);
    }

    #[test]
    fn the_home_is_the_users_own() {
        let home = Here.home();
        let listed = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let uid = effective_user().to_string();
        let line = listed.lines().find(|line| line.split(':').nth(2) == Some(&uid));
        // Not every user is listed there.
        if let Some(line) = line {
            assert_eq!(home, line.split(':').nth(5).map(PathBuf::from));
        }
    }
}
