//! One name for a pipe, a socket path or an abstract name.
//!
//! Pure functions: the properties of a system are passed in, so that the names of every system can be
//! computed and tested on every system. Only [`Endpoint::locate`] asks the system.
#![forbid(unsafe_code)]

mod locate;
mod name;
mod resolve;

pub use name::{NAME_MAX, NameError};
pub use resolve::{Runtime, SocketAddress};

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a server is found.
///
/// Usually a plain name, the same on every system:
///
/// ```
/// use msgpipe::Endpoint;
/// let endpoint: Endpoint = "com.example.notes".parse()?;
/// // Windows: \\.\pipe\com.example.notes.S-1-5-21-…  (the user's security identifier)
/// // Unix:    /run/user/1000/msgpipe/com.example.notes.sock
/// # Ok::<_, msgpipe::NameError>(())
/// ```
///
/// Every function that takes an endpoint also takes a `&str` with such a name. A plain name is per user: the
/// same name of two users is two endpoints. Names are case-insensitive, like pipe names.
///
/// On Unix a plain name is the file `NAME.sock` in a directory of this crate. The directory is in the first of
/// these places that exists, belongs to the effective user, and cannot be written to by other users. Other
/// places are skipped, so that no other user can take a name first.
///
/// 1. `$XDG_RUNTIME_DIR/msgpipe/`, if the variable is an absolute path. If it is another directory than the
///    next, no other place is used.
/// 2. `/run/user/UID/msgpipe/`, the usual value of the variable in a session. So a program without the
///    variable (from cron, or by `su`) finds a server that has it.
/// 3. On macOS `msgpipe/` in the user's temporary directory (`confstr`, _CS_DARWIN_USER_TEMP_DIR).
/// 4. `.msgpipe/` in the user's home by the user database.
///
/// A client looks in all of them in this order. A server binds in the first, and checks whether the name is
/// served in the others. A directory in which the path would be too long for a socket is skipped. Without a
/// usable place, as for a system user without a home or on Android, binding and connecting fail with
/// [`Error::Insecure`](crate::Error::Insecure): set the variable for both, or use [`path`](Endpoint::path).
///
/// [`locate`](Endpoint::locate) returns the path of a name.
///
/// An endpoint can also be an exact pipe, path or abstract name:
///
/// ```
/// use msgpipe::Endpoint;
/// let pipe = Endpoint::pipe(r"\\.\pipe\mynamedpipe")?; // Windows
/// let path = Endpoint::path("/run/notes.sock")?; // Unix
/// let name = Endpoint::abstract_name("notes")?; // Linux, Android
/// # Ok::<_, msgpipe::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint(Form);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Form {
    Name(String),
    Pipe(String),
    Path(PathBuf),
    Abstract(String),
}

impl Endpoint {
    /// The endpoint of a plain name, on any system; the same as parsing it.
    ///
    /// A name has 1 to [`NAME_MAX`] ASCII letters, digits, dots, hyphens and underscores and
    /// begins with a letter or a digit.
    ///
    /// # Errors
    /// [`NameError`] for any other name.
    pub fn name(name: &str) -> Result<Endpoint, NameError> {
        name::check_name(name)?;
        Ok(Endpoint(Form::Name(name.to_ascii_lowercase())))
    }

    /// Exactly this pipe: `\\.\pipe\` and up to 247 more characters.
    ///
    /// # Errors
    /// [`NameError`] if it does not begin so or is longer than the 256 characters that
    /// [`CreateNamedPipe`] allows. On a system without pipes, binding and connecting fail.
    ///
    /// [`CreateNamedPipe`]: https://learn.microsoft.com/windows/win32/api/namedpipeapi/nf-namedpipeapi-createnamedpipew
    pub fn pipe(name: &str) -> Result<Endpoint, NameError> {
        name::check_pipe(name)?;
        Ok(Endpoint(Form::Pipe(name.to_owned())))
    }

    /// Exactly this socket file. A relative path is resolved against the current directory when a server
    /// binds or a client connects.
    ///
    /// # Errors
    /// [`NameError`] if it is empty or contains a zero byte. The limit of its length as an absolute path
    /// depends on the system; binding and connecting check it.
    pub fn path(path: impl Into<PathBuf>) -> Result<Endpoint, NameError> {
        let path = path.into();
        name::check_path(&path)?;
        Ok(Endpoint(Form::Path(path)))
    }

    /// This name in the abstract namespace of Linux, which has no files and no permissions: every
    /// user of the machine can reach it.
    ///
    /// # Errors
    /// [`NameError`] if it is empty, contains a zero byte, or is longer than the 107 bytes of `unix(7)`.
    pub fn abstract_name(name: &str) -> Result<Endpoint, NameError> {
        name::check_abstract(name)?;
        Ok(Endpoint(Form::Abstract(name.to_owned())))
    }
}

impl Endpoint {
    /// Whether it is a plain name, which is per user.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self.0, Form::Name(_))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Name(name) | Form::Pipe(name) => f.write_str(name),
            Form::Path(path) => path.display().fmt(f),
            Form::Abstract(name) => write!(f, "@{name}"),
        }
    }
}

impl FromStr for Endpoint {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Endpoint, NameError> {
        Endpoint::name(name)
    }
}

/// Conversions, for functions that take an endpoint.
macro_rules! try_from {
    ($($(#[$doc:meta])* $from:ty: $make:expr;)*) => {$(
        $(#[$doc])*
        impl TryFrom<$from> for Endpoint {
            type Error = NameError;

            fn try_from(from: $from) -> Result<Endpoint, NameError> {
                $make(from)
            }
        }
    )*};
}

try_from! {
    &str: Endpoint::name;
    &String: |name: &String| Endpoint::name(name);
    String: |name: String| Endpoint::name(&name);
    /// Exactly this socket file, as with [`Endpoint::path`].
    &Path: Endpoint::path;
    /// Exactly this socket file, as with [`Endpoint::path`].
    PathBuf: Endpoint::path;
}

impl From<&Endpoint> for Endpoint {
    fn from(endpoint: &Endpoint) -> Endpoint {
        endpoint.clone()
    }
}
