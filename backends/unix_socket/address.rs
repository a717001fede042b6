//! The address of an endpoint's socket on this system, for this user.

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

/// The properties that the directories of plain names depend on.
trait Environment {
    fn uid(&self) -> u32;
    /// `$XDG_RUNTIME_DIR`.
    fn variable(&self) -> Option<PathBuf>;
    /// The system's runtime directory for the user (macOS).
    fn system_directory(&self) -> Option<PathBuf>;
    /// The user's home by the user database. `$HOME` may belong to another user.
    fn home(&self) -> Option<PathBuf>;
    /// Whether only this user can write to the directory.
    fn is_safe(&self, directory: &Path) -> bool;
}

/// The directories of plain names, in the order of `docs/PROTOCOL.md`, section 1: a server binds in the first,
/// a client tries one after the other. A place that other users own or can write to is skipped, so that none
/// of them can take a name first. The iterator is lazy: the user database is queried only if it gets there.
fn directories<S: Environment>(environment: S) -> impl Iterator<Item = PathBuf> {
    let usual = Path::new("/run/user").join(environment.uid().to_string());
    let mut chosen = false;
    (0..4).filter_map(move |place| {
        // A chosen directory is the only one.
        if chosen {
            return None;
        }
        let directory = match place {
            0 => environment.variable().filter(|chosen| *chosen != usual)?,
            1 => usual.clone(),
            2 => environment.system_directory()?,
            _ => environment.home()?,
        };
        if !directory.is_absolute() || !environment.is_safe(&directory) {
            return None;
        }
        chosen = place == 0;
        Some(directory.join(if place == 3 { ".msgpipe" } else { "msgpipe" }))
    })
}

/// The directories of plain names that this user has.
pub(super) fn own_directories() -> impl Iterator<Item = PathBuf> {
    directories(ProcessEnvironment)
}

/// The addresses of an endpoint, in order; only a plain name has more than one. An error stands for a place
/// that cannot be used: the path would be too long for a socket, or there is no directory. Never empty.
pub(super) fn addresses(
    endpoint: &Endpoint,
) -> Box<dyn Iterator<Item = Result<SocketAddress, Error>>> {
    let endpoint = endpoint.clone();
    let at = |endpoint: &Endpoint, directory: Option<&Path>| {
        let runtime = Runtime { directory, path_max: PATH_MAX, has_abstract: HAS_ABSTRACT };
        endpoint.socket_address(runtime).map_err(Error::from)
    };
    if !endpoint.is_own() {
        // The path must not change with the current directory.
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
    let steps = own_directories().map(Some).chain([None]);
    Box::new(steps.filter_map(move |directory| match directory {
        Some(directory) => {
            is_empty = false;
            Some(at(&endpoint, Some(&directory)))
        }
        None => is_empty.then(|| Err(no_directory(&endpoint))),
    }))
}

/// The address that a server of this endpoint binds.
pub(super) fn first_address(endpoint: &Endpoint) -> Result<SocketAddress, Error> {
    let mut failed = None;
    for address in addresses(endpoint) {
        match address {
            Ok(address) => return Ok(address),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Err(failed.unwrap_or_else(|| no_directory(endpoint)))
}

/// The path of an endpoint on this system.
pub(crate) fn locate(endpoint: &Endpoint) -> Result<PathBuf, Error> {
    first_address(endpoint).map(|address| PathBuf::from(&*name_of(&address)))
}

fn no_directory(endpoint: &Endpoint) -> Error {
    let problem = format!(
        "user {} has no directory for plain names: neither $XDG_RUNTIME_DIR nor /run/user nor a \
         home of that user's own that only it can write to. Set XDG_RUNTIME_DIR to such a directory \
         for the server and its clients, or use Endpoint::path",
        effective_user()
    );
    super::directory::insecure(&endpoint.to_string().into(), problem)
}

/// The address as text.
pub(super) fn name_of(address: &SocketAddress) -> Arc<str> {
    match address {
        SocketAddress::File { path, .. } => path.display().to_string().into(),
        SocketAddress::Abstract(name) => format!("@{name}").into(),
    }
}

/// The address of a bound socket as text; `None`: it has none.
pub(super) fn name_of_socket(address: &SocketAddrUnix) -> Option<Arc<str>> {
    if let Some(path) = address.path_bytes() {
        return Some(Path::new(OsStr::from_bytes(path)).display().to_string().into());
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(name) = address.abstract_name().filter(|name| !name.is_empty()) {
        return Some(format!("@{}", String::from_utf8_lossy(name)).into());
    }
    None
}

/// The address as the system's type.
pub(super) fn system_address(address: &SocketAddress) -> io::Result<SocketAddrUnix> {
    match address {
        SocketAddress::File { path, .. } => Ok(SocketAddrUnix::new(path)?),
        #[cfg(any(target_os = "linux", target_os = "android"))]
        SocketAddress::Abstract(name) => Ok(SocketAddrUnix::new_abstract_name(name.as_bytes())?),
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        SocketAddress::Abstract(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// The environment of this process.
struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn uid(&self) -> u32 {
        effective_user()
    }

    fn variable(&self) -> Option<PathBuf> {
        env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
    }

    /// `confstr(3)`, _CS_DARWIN_USER_TEMP_DIR.
    #[cfg(target_vendor = "apple")]
    fn system_directory(&self) -> Option<PathBuf> {
        let mut path = [0u8; libc::PATH_MAX as usize];
        let name = libc::_CS_DARWIN_USER_TEMP_DIR;
        // SAFETY: the buffer has `path.len()` bytes and outlives the call.
        let len = unsafe { libc::confstr(name, path.as_mut_ptr().cast(), path.len()) };
        // The length includes the terminating zero. It is 0 on an error, and larger than the buffer if truncated.
        if !(1..=path.len()).contains(&len) {
            return None;
        }
        let path = CStr::from_bytes_until_nul(&path).ok()?;
        Some(PathBuf::from(OsStr::from_bytes(path.to_bytes())))
    }

    #[cfg(not(target_vendor = "apple"))]
    fn system_directory(&self) -> Option<PathBuf> {
        None
    }

    fn home(&self) -> Option<PathBuf> {
        // A longer record fails with ERANGE (`getpwuid_r(3)`) and counts as no home.
        let mut text = vec![0u8; 64 * 1024];
        let mut record = std::mem::MaybeUninit::<libc::passwd>::uninit();
        let mut found: *mut libc::passwd = std::ptr::null_mut();
        // SAFETY: the buffer has `text.len()` bytes; all three outlive the call and the read of the record
        // below.
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

    /// An environment in which only the directories in `safe` are safe.
    #[derive(Clone, Default)]
    struct FakeEnvironment {
        variable: Option<&'static str>,
        system_directory: Option<&'static str>,
        safe: Vec<&'static str>,
    }

    impl Environment for FakeEnvironment {
        fn uid(&self) -> u32 {
            1000
        }
        fn variable(&self) -> Option<PathBuf> {
            self.variable.map(PathBuf::from)
        }
        fn system_directory(&self) -> Option<PathBuf> {
            self.system_directory.map(PathBuf::from)
        }
        fn home(&self) -> Option<PathBuf> {
            Some("/home/anna".into())
        }
        fn is_safe(&self, directory: &Path) -> bool {
            self.safe.iter().any(|safe| Path::new(safe) == directory)
        }
    }

    #[track_caller]
    fn expect_directories(fake: FakeEnvironment, expected: &[&str]) {
        let found: Vec<PathBuf> = directories(fake).collect();
        assert_eq!(found, expected.iter().map(PathBuf::from).collect::<Vec<_>>());
    }

    const USUAL: &str = "/run/user/1000/msgpipe";
    const HOME: &str = "/home/anna/.msgpipe";

    #[test]
    fn a_session_without_the_variable_finds_a_server_with_it() {
        let safe = vec!["/run/user/1000", "/home/anna"];
        for variable in [None, Some("/run/user/1000"), Some("/run/user/1000/"), Some("")] {
            expect_directories(
                FakeEnvironment { variable, safe: safe.clone(), ..FakeEnvironment::default() },
                &[USUAL, HOME],
            );
        }
        // Before a session exists, or after.
        expect_directories(
            FakeEnvironment { safe: vec!["/home/anna"], ..FakeEnvironment::default() },
            &[HOME],
        );
    }

    #[test]
    fn a_chosen_directory_is_the_only_one() {
        let safe = vec!["/chosen", "/run/user/1000", "/home/anna"];
        expect_directories(
            FakeEnvironment { variable: Some("/chosen"), safe, ..FakeEnvironment::default() },
            &["/chosen/msgpipe"],
        );
    }

    /// A directory of another user (su), one that is open to all (WSLg), one that does not exist, a relative
    /// path.
    #[test]
    fn a_directory_that_is_not_safe_is_skipped() {
        let safe = vec!["/run/user/1000", "/home/anna", "chosen"];
        for variable in ["/run/user/0", "/mnt/wslg/runtime-dir", "/tmp", "chosen"] {
            let variable = Some(variable);
            expect_directories(
                FakeEnvironment { variable, safe: safe.clone(), ..FakeEnvironment::default() },
                &[USUAL, HOME],
            );
        }
        expect_directories(FakeEnvironment::default(), &[]);
    }

    #[test]
    fn the_systems_directory_comes_before_the_home() {
        let (system_directory, safe) =
            (Some("/var/folders/x/T"), vec!["/var/folders/x/T", "/home/anna"]);
        let fake = FakeEnvironment { system_directory, safe, ..FakeEnvironment::default() };
        expect_directories(fake, &["/var/folders/x/T/msgpipe", HOME]);
    }

    #[test]
    fn the_home_is_that_of_the_user_database() {
        let home = ProcessEnvironment.home();
        let listed = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let uid = effective_user().to_string();
        let line = listed.lines().find(|line| line.split(':').nth(2) == Some(&uid));
        // The file does not list every user.
        if let Some(line) = line {
            assert_eq!(home, line.split(':').nth(5).map(PathBuf::from));
        }
    }
}
