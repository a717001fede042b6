//! One name for a pipe, a socket path or an abstract name.
//!
//! Pure: what it needs to know of the system is passed in, so that every system's names can be
//! worked out, and are tested, on every system. A program in another language finds here what a
//! name becomes.
#![forbid(unsafe_code)]

mod name;
mod resolve;

pub use name::{NAME_MAX, NameError};
pub use resolve::{Runtime, SocketAddress};

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a server is found.
///
/// Usually just a name, the same on every system:
///
/// ```
/// use msgpipe::Endpoint;
/// let endpoint: Endpoint = "com.example.notes".parse()?;
/// // Windows: \\.\pipe\com.example.notes.S-1-5-21-…  (the user's security identifier)
/// // Unix:    $XDG_RUNTIME_DIR/msgpipe/com.example.notes.sock
/// //     or:  /tmp/msgpipe-UID/com.example.notes.sock
/// # Ok::<_, msgpipe::NameError>(())
/// ```
///
/// Everything that takes an endpoint takes a `&str` with such a name too. The name carries the
/// user with it: the same name of two users is two endpoints, so that nobody is in another's way.
/// On Unix it lies in `$XDG_RUNTIME_DIR` when that is set to an absolute path, as the XDG base
/// directory specification asks for, else in a directory of the user's own in `/tmp`; a client and
/// a server must agree on that variable. Upper and lower case are the same, as they are for pipes.
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

    /// Exactly this socket file. A relative path counts from the current directory.
    ///
    /// # Errors
    /// [`NameError`], when it is empty or holds a zero. What is too long depends on the system and
    /// shows when it is used.
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

impl TryFrom<&str> for Endpoint {
    type Error = NameError;

    fn try_from(name: &str) -> Result<Endpoint, NameError> {
        Endpoint::name(name)
    }
}

impl TryFrom<&String> for Endpoint {
    type Error = NameError;

    fn try_from(name: &String) -> Result<Endpoint, NameError> {
        Endpoint::name(name)
    }
}

impl From<&Endpoint> for Endpoint {
    fn from(endpoint: &Endpoint) -> Endpoint {
        endpoint.clone()
    }
}
