//! One name for a pipe, a socket path or an abstract name.
//!
//! Pure: what it needs to know of the system is passed in, so that every system's names can be
//! worked out, and are tested, on every system. Only [`Endpoint::locate`] asks the system, which is
//! what it is for.
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
/// Usually just a name, the same on every system:
///
/// ```
/// use msgpipe::Endpoint;
/// let endpoint: Endpoint = "com.example.notes".parse()?;
/// // Windows: \\.\pipe\com.example.notes.S-1-5-21-…  (the user's security identifier)
/// // Unix:    /run/user/1000/msgpipe/com.example.notes.sock
/// # Ok::<_, msgpipe::NameError>(())
/// ```
///
/// Everything that takes an endpoint takes a `&str` with such a name too. The name carries the
/// user with it: the same name of two users is two endpoints, so that nobody is in another's way.
/// Upper and lower case are the same, as they are for pipes.
///
/// On Unix it is the file `NAME.sock` in a directory of this crate's own, which lies in the first of
/// these that is there, belongs to the user (the effective one), and that nobody else can write to.
/// Any other is passed over: nobody can take a user's names by being there first.
///
/// 1. `$XDG_RUNTIME_DIR`, when it is set to an absolute path: in it `msgpipe/`. If it is another
///    directory than the next, it is the only one that counts, so that whoever chose it is by itself.
/// 2. `/run/user/UID`, which is what the variable says in a usual session: in it `msgpipe/`. So a
///    program without the variable (from cron, or by `su`) meets one that has it.
/// 3. On macOS the user's own temporary directory (`confstr`, _CS_DARWIN_USER_TEMP_DIR): `msgpipe/`.
/// 4. The user's home, by the user database: `.msgpipe/`.
///
/// A client looks in all of them in this order; a server binds in the first, and also looks in the
/// others whether the name is served. A directory in which the path would be too long for a socket is
/// passed over. Where there is none at all, as for a system user without a home of its own or on
/// Android, binding and connecting fail and say so: set the variable for both, or use
/// [`path`](Endpoint::path).
///
/// [`locate`](Endpoint::locate) says what a name becomes here and now.
///
/// And there are ways to say exactly which pipe, path or abstract name:
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
    /// The endpoint of a name on any system; the same as parsing it.
    ///
    /// A name has 1 to [`NAME_MAX`] letters, digits, dots, hyphens and underscores of ASCII and
    /// begins with a letter or a digit.
    ///
    /// # Errors
    /// [`NameError`], which says what is wrong with it.
    pub fn name(name: &str) -> Result<Endpoint, NameError> {
        name::check_name(name)?;
        Ok(Endpoint(Form::Name(name.to_ascii_lowercase())))
    }

    /// Exactly this pipe: `\\.\pipe\` and up to 247 more characters.
    ///
    /// # Errors
    /// [`NameError`], when it does not begin so or is longer than the 256 characters that
    /// [`CreateNamedPipe`] allows. That there is a system without pipes shows when it is used.
    ///
    /// [`CreateNamedPipe`]: https://learn.microsoft.com/windows/win32/api/namedpipeapi/nf-namedpipeapi-createnamedpipew
    pub fn pipe(name: &str) -> Result<Endpoint, NameError> {
        name::check_pipe(name)?;
        Ok(Endpoint(Form::Pipe(name.to_owned())))
    }

    /// Exactly this socket file. A relative path counts from the directory that is the current one
    /// when a server binds or a client connects, and is made absolute then.
    ///
    /// # Errors
    /// [`NameError`], when it is empty or holds a zero. What is too long, as an absolute path, depends
    /// on the system and shows when it is used.
    pub fn path(path: impl Into<PathBuf>) -> Result<Endpoint, NameError> {
        let path = path.into();
        name::check_path(&path)?;
        Ok(Endpoint(Form::Path(path)))
    }

    /// This name in the abstract namespace of Linux, which has no files and no permissions: any
    /// user of the machine can reach it.
    ///
    /// # Errors
    /// [`NameError`], when it is empty, holds a zero, or is longer than the 107 bytes of `unix(7)`.
    pub fn abstract_name(name: &str) -> Result<Endpoint, NameError> {
        name::check_abstract(name)?;
        Ok(Endpoint(Form::Abstract(name.to_owned())))
    }
}

impl Endpoint {
    /// Whether it is a plain name, which carries its user with it.
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

/// What an endpoint can be made of, where one is taken.
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
