//! `msgpipe list`.

use crate::args::{Common, List};
use crate::exit::Exit;
use crate::{output, target};
use msgpipe::monitor::PING;
use msgpipe::{ClientOptions, Endpoint, Error, Limits, Trust};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// How many servers are asked at once: one that hangs does not hold up the others, and a thousand names are no thousand
/// threads.
const AT_ONCE: usize = 16;

/// What became of a name.
struct Found {
    name: String,
    path: String,
    /// `live`, `stale`, or `unknown`.
    state: &'static str,
    pid: Option<u32>,
    /// What is to be said beside.
    note: String,
}

pub fn run(common: &Common, args: &List) -> Result<(), Exit> {
    let names = Endpoint::names()?;
    let limits = target::limits(common)?;
    let mut found = for_each(&names, |name| look_at(name, &limits));
    found.sort_by(|a, b| a.name.cmp(&b.name));
    match args.json {
        true => output::line(&Value::Array(found.iter().map(Found::to_json).collect()).to_string()),
        false => print(&found),
    }
}

/// Does something with each name, for several at once. What it returns comes in any order.
pub fn for_each<T: Send>(names: &[String], look: impl Fn(&str) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(names.len()) {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let one = look(name);
                    found.lock().unwrap_or_else(PoisonError::into_inner).push(one);
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn look_at(name: &str, limits: &Limits) -> Found {
    let endpoint = Endpoint::name(name);
    let path = endpoint.as_ref().map_err(|error| error.to_string());
    let path = path.and_then(|endpoint| endpoint.locate().map_err(|error| error.to_string()));
    let path = path.map_or_else(|error| error, |path| path.display().to_string());
    let options = ClientOptions::new().limits(limits.clone()).trust(Trust::SameUser);
    let (state, pid, note) = match options.connect(name) {
        Ok(client) => {
            let pid = client.server().pid;
            match client.with_method(PING).call("") {
                Ok(_) => ("live", pid, String::new()),
                // It is there, and speaks for itself.
                Err(error) => ("unknown", pid, error.to_string()),
            }
        }
        Err(Error::NoServer { .. }) => {
            ("stale", None, "no server: it was killed, or is just starting".to_owned())
        }
        Err(error) => ("unknown", None, error.to_string()),
    };
    Found { name: name.to_owned(), path, state, pid, note }
}

fn print(found: &[Found]) -> Result<(), Exit> {
    if found.is_empty() {
        return output::line("no servers");
    }
    let width = found.iter().map(|it| it.name.len()).max().unwrap_or_default().max(4);
    output::line(&format!("{:width$}  STATE    PROCESS  PATH", "NAME"))?;
    for it in found {
        let pid = it.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        output::line(&format!("{:width$}  {:7}  {pid:7}  {}", it.name, it.state, it.path))?;
        if !it.note.is_empty() {
            output::line(&format!("{:width$}  {}", "", output::one_line(it.note.as_bytes())))?;
        }
    }
    Ok(())
}

impl Found {
    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "state": self.state,
            "pid": self.pid,
            "path": self.path,
            "note": self.note,
        })
    }
}
