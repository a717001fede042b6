//! From an endpoint to the pipe name or socket address of a system.

use super::name::{self, PIPE_PREFIX};
use super::{Endpoint, Form, NameError};
use std::path::{Path, PathBuf};

/// The address that a socket is bound to; see [`Endpoint::socket_address`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketAddress {
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// The directory of a plain name, which the server creates and keeps private.
        private: Option<PathBuf>,
    },
    /// A name in the abstract namespace, without its leading zero.
    Abstract(String),
}

/// The properties of a system that a socket's address depends on; see [`Endpoint::socket_address`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Runtime<'a> {
    /// The directory of plain names: one of those that [`Endpoint`] lists.
    pub directory: Option<&'a Path>,
    /// The longest path of a socket in bytes, without its terminating zero.
    pub path_max: usize,
    /// Whether the system has an abstract namespace.
    pub has_abstract: bool,
}

impl Runtime<'_> {
    /// A system with socket paths of up to `path_max` bytes, without directory or abstract namespace.
    pub fn new(path_max: usize) -> Self {
        Runtime { directory: None, path_max, has_abstract: false }
    }
}

impl Endpoint {
    /// The name of this endpoint's pipe, for the user with the security identifier `sid`.
    ///
    /// # Errors
    /// [`NameError`] if the endpoint is not a pipe, or the name becomes too long.
    ///
    /// ```
    /// let endpoint = msgpipe::Endpoint::name("com.example.notes")?;
    /// assert_eq!(endpoint.pipe_name("S-1-5-18")?, r"\\.\pipe\com.example.notes.S-1-5-18");
    /// # Ok::<_, msgpipe::NameError>(())
    /// ```
    pub fn pipe_name(&self, sid: &str) -> Result<String, NameError> {
        match &self.0 {
            Form::Name(name) => {
                let pipe = format!("{PIPE_PREFIX}{name}.{sid}");
                name::check_pipe(&pipe)?;
                Ok(pipe)
            }
            Form::Pipe(name) => Ok(name.clone()),
            Form::Path(_) => Err(self.not_here("a socket path")),
            Form::Abstract(_) => Err(self.not_here("an abstract name")),
        }
    }

    /// The address of this endpoint's socket on a system with the properties `runtime`.
    /// [`locate`](Endpoint::locate) returns the path on the running system.
    ///
    /// # Errors
    /// [`NameError`] if the endpoint is not a socket there, is a plain name without a directory, or its path
    /// becomes too long.
    ///
    /// ```
    /// use msgpipe::endpoint::{Runtime, SocketAddress};
    /// use std::path::Path;
    ///
    /// let endpoint = msgpipe::Endpoint::name("com.example.notes")?;
    /// let mut runtime = Runtime::new(107);
    /// runtime.directory = Some(Path::new("/run/user/1000/msgpipe"));
    /// let SocketAddress::File { path, .. } = endpoint.socket_address(runtime)? else { panic!() };
    /// assert!(path.ends_with("msgpipe/com.example.notes.sock"));
    /// # Ok::<_, msgpipe::NameError>(())
    /// ```
    pub fn socket_address(&self, runtime: Runtime<'_>) -> Result<SocketAddress, NameError> {
        let (path, private) = match &self.0 {
            Form::Name(name) => {
                let Some(directory) = runtime.directory else {
                    return Err(self.not_here("a plain name without a directory"));
                };
                (directory.join(format!("{name}.sock")), Some(directory.to_owned()))
            }
            Form::Path(path) => (path.clone(), None),
            Form::Pipe(_) => return Err(self.not_here("a Windows pipe")),
            Form::Abstract(_) if !runtime.has_abstract => {
                return Err(self.not_here("an abstract name"));
            }
            Form::Abstract(name) => return Ok(SocketAddress::Abstract(name.clone())),
        };
        let len = path.as_os_str().as_encoded_bytes().len();
        name::check_length(&path.display().to_string(), len, runtime.path_max)?;
        Ok(SocketAddress::File { path, private })
    }

    fn not_here(&self, kind: &'static str) -> NameError {
        NameError::NotHere { endpoint: self.to_string(), kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: &str = "S-1-5-21-3623811015-3361044348-30300820-1013";

    fn runtime(directory: Option<&str>) -> Runtime<'_> {
        Runtime { directory: directory.map(Path::new), path_max: 107, has_abstract: true }
    }

    fn file(path: &str, private: Option<&str>) -> SocketAddress {
        SocketAddress::File { path: path.into(), private: private.map(PathBuf::from) }
    }

    #[test]
    fn a_name_becomes_a_pipe_of_this_user() {
        let endpoint = Endpoint::name("com.example.Notes").unwrap();
        assert_eq!(endpoint.pipe_name(SID).unwrap(), format!(r"\\.\pipe\com.example.notes.{SID}"));
    }

    #[test]
    fn the_longest_name_and_the_longest_identifier_make_a_pipe_name() {
        // Fifteen sub-authorities of ten digits: the most a security identifier can have (winnt.h).
        let sid = format!("S-1-281474976710655{}", "-4294967295".repeat(15));
        let longest = Endpoint::name(&"n".repeat(super::super::NAME_MAX)).unwrap();
        assert!(matches!(longest.pipe_name(&sid), Err(NameError::TooLong { .. })));
        // Identifiers of users have five sub-authorities; there it always fits.
        let user = format!("S-1-5{}", "-4294967295".repeat(5));
        assert!(longest.pipe_name(&user).is_ok());
    }

    #[test]
    fn a_name_becomes_a_file_in_its_directory() {
        let endpoint = Endpoint::name("Com.example.notes").unwrap();
        let private = std::env::temp_dir().join("msgpipe");
        let address = endpoint.socket_address(runtime(private.to_str())).unwrap();
        let path = private.join("com.example.notes.sock");
        assert_eq!(address, SocketAddress::File { path, private: Some(private) });
        assert!(endpoint.socket_address(runtime(None)).is_err());
    }

    #[test]
    fn exact_endpoints_are_taken_as_they_are() {
        let pipe = Endpoint::pipe(r"\\.\pipe\MyPipe").unwrap();
        assert_eq!(pipe.pipe_name(SID).unwrap(), r"\\.\pipe\MyPipe");
        let path = Endpoint::path("/run/Notes.sock").unwrap();
        assert_eq!(path.socket_address(runtime(None)).unwrap(), file("/run/Notes.sock", None));
        let name = Endpoint::abstract_name("Notes").unwrap();
        assert_eq!(
            name.socket_address(runtime(None)).unwrap(),
            SocketAddress::Abstract("Notes".into())
        );
    }

    #[test]
    fn the_length_of_a_path_is_exact() {
        for len in [106, 107, 108] {
            let path = format!("/{}", "x".repeat(len - 1));
            let address = Endpoint::path(&path).unwrap().socket_address(runtime(None));
            match len {
                108 => assert_eq!(address, Err(NameError::TooLong { name: path, len, limit: 107 })),
                _ => assert_eq!(address, Ok(file(&path, None))),
            }
        }
    }

    #[test]
    fn an_unsupported_kind_of_endpoint_is_an_error() {
        let pipe = Endpoint::pipe(r"\\.\pipe\x").unwrap();
        let path = Endpoint::path("/x").unwrap();
        let name = Endpoint::abstract_name("x").unwrap();
        let without = Runtime { has_abstract: false, ..runtime(None) };
        for error in [
            pipe.socket_address(runtime(None)).unwrap_err(),
            name.socket_address(without).unwrap_err(),
            path.pipe_name(SID).unwrap_err(),
            name.pipe_name(SID).unwrap_err(),
        ] {
            assert!(matches!(error, NameError::NotHere { .. }), "{error}");
        }
    }
}
