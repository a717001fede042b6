//! What an endpoint is here and now: the one question of names that the system is asked.

use super::Endpoint;
use crate::error::Error;
use std::path::PathBuf;

impl Endpoint {
    /// What this system calls it, for this user and now: the path of the socket or pipe at which a
    /// server of this endpoint would be, for a program in another language or a person to connect to.
    /// An abstract name is shown as `@name`. Nothing is made, and nobody needs to serve there.
    ///
    /// # Errors
    /// [`Error::Name`] for what this system does not have or is too long, [`Error::Insecure`] when there
    /// is no directory for plain names.
    ///
    /// ```
    /// let path = msgpipe::Endpoint::name("com.example.notes")?.locate()?;
    /// // /run/user/1000/msgpipe/com.example.notes.sock, or \\.\pipe\com.example.notes.S-1-5-21-…
    /// assert!(path.to_string_lossy().contains("com.example.notes"));
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn locate(&self) -> Result<PathBuf, Error> {
        crate::backends::locate(self)
    }
}
