//! The paths of endpoints on the running system, and the names there: the only part of names that asks the system.

use super::Endpoint;
use crate::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

impl Endpoint {
    /// The path of the socket or pipe that a server of this endpoint would use, on this system and for this
    /// user. Programs in other languages can connect to it. An abstract name is shown as `@name`. This
    /// creates nothing, and no server needs to run.
    ///
    /// # Errors
    /// [`Error::Name`] if this system does not support the endpoint or its path is too long,
    /// [`Error::Insecure`] if there is no directory for plain names.
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

    /// The plain names that servers of this user have now, or have left behind: a server that was killed leaves its socket
    /// file. Sorted. Only connecting shows whether a server is there, and a name may be another program's: a file or pipe
    /// that is called so.
    ///
    /// Unix: sockets in the directories for plain names that [`Endpoint`] lists; not files of names that no server of this
    /// crate makes, as `UPPER.sock` or `two words.sock`. Windows: the pipes of the machine whose
    /// names end with the user's security identifier.
    ///
    /// # Errors
    /// [`Error::System`] if a directory cannot be read. One that does not exist is empty.
    ///
    /// ```no_run
    /// for name in msgpipe::Endpoint::names()? {
    ///     println!("{name}: {}", msgpipe::Client::connect(name.as_str()).is_ok());
    /// }
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn names() -> Result<Vec<String>, Error> {
        crate::backends::names()
    }

    /// The name as the errors of a connection have it.
    pub(crate) fn named(&self) -> Arc<str> {
        let place = self.locate().ok();
        place.map_or_else(|| self.to_string(), |place| place.display().to_string()).into()
    }
}
