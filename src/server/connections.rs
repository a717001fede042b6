//! The list of who is connected to a server.

use super::connection::{Connection, Origin};
use crate::message_server::ConnectionId;
use crate::sync::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError};

/// Who is connected to a server, for any thread; [`Server::connections`](super::Server::connections) returns it.
///
/// ```no_run
/// let server = msgpipe::Server::bind("com.example.notes")?;
/// let connections = server.connections();
/// std::thread::spawn(move || {
///     for client in connections.list() {
///         let _ = client.try_notify("the server is up"); // a client that has gone, or does not read
///     }
/// });
/// server.serve(|request| request.body())?;
/// # Ok::<_, msgpipe::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Connections {
    /// Kept once somebody has asked for it: most servers need none.
    list: Arc<OnceLock<Mutex<List>>>,
}

type List = BTreeMap<ConnectionId, Arc<Origin>>;

impl Connections {
    /// The list is kept from now on.
    pub(super) fn keep(&self) {
        self.list.get_or_init(Mutex::default);
    }

    /// All open connections, in the order in which they were made.
    pub fn list(&self) -> Vec<Connection> {
        let all = |list: &mut List| list.values().cloned().map(Connection::new).collect();
        self.with(all).unwrap_or_default()
    }

    /// The open connection with this id.
    pub fn get(&self, id: ConnectionId) -> Option<Connection> {
        self.with(|list| list.get(&id).cloned().map(Connection::new))?
    }

    /// How many connections are open.
    pub fn count(&self) -> usize {
        self.with(|list| list.len()).unwrap_or_default()
    }

    pub(super) fn add(&self, origin: &Arc<Origin>) {
        self.with(|list| list.insert(origin.id, origin.clone()));
    }

    pub(super) fn remove(&self, id: ConnectionId) {
        self.with(|list| list.remove(&id));
    }

    pub(super) fn clear(&self) {
        self.with(std::mem::take);
    }

    /// Changes the list, or looks at it. `None`: it is not kept.
    fn with<R>(&self, change: impl FnOnce(&mut List) -> R) -> Option<R> {
        let list = self.list.get()?;
        Some(change(&mut list.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}
