//! Why a client found no server, and what to do.

use super::identity::{Owner, effective_user, owner_of};
use super::place::lock_of;
use super::socket::{REFUSED_IS_STALE, is_other_type};
use crate::endpoint::SocketAddress;
use crate::error::Error;
use crate::limits::Limits;
use rustix::fs::{FileType, Stat};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

/// The error for a failed connect(2).
pub(super) fn explained(
    address: &SocketAddress,
    name: &Arc<str>,
    limits: &Limits,
    source: io::Error,
) -> Error {
    let endpoint = name.clone();
    let path = match address {
        SocketAddress::File { path, .. } => Some(path.as_path()),
        SocketAddress::Abstract(_) => None,
    };
    let there = path.and_then(|path| rustix::fs::stat(path).ok());
    match (source.kind(), path, there) {
        (ErrorKind::ConnectionRefused, _, Some(there)) if !is_socket(&there) => {
            let problem = "it is not a socket: check the path, or remove it".to_owned();
            Error::Insecure { endpoint, problem }
        }
        (ErrorKind::ConnectionRefused, _, Some(there)) => {
            Error::no_server(name, with_text(&source, &stale(&there)))
        }
        (ErrorKind::NotFound, Some(path), _) if has_lock(path) => {
            let text = "its lock file exists, but no socket: if its server still runs, the socket was \
                        removed, and that server has to be stopped first";
            Error::no_server(name, with_text(&source, text))
        }
        (ErrorKind::NotFound | ErrorKind::ConnectionRefused, ..) => Error::no_server(name, source),
        (ErrorKind::WouldBlock | ErrorKind::TimedOut, ..) => Error::busy(&endpoint, limits.connect),
        (ErrorKind::PermissionDenied, _, there) => {
            Error::system(name, "connecting", with_text(&source, &permission_denied(there)))
        }
        _ if is_other_type(&source) => {
            let action = "connecting in this framing (one side carries whole messages and the other a \
                          stream of bytes: choose the server's framing)";
            Error::system(name, action, source)
        }
        _ => Error::system(name, "connecting", source),
    }
}

/// Merges the errors of two directories of a name: the first error, with the path of the second.
pub(super) fn merged(first: Option<Error>, error: Error) -> Error {
    match (first, error) {
        (None, error) | (Some(Error::Name(_)), error @ Error::NoServer { .. }) => error,
        (Some(Error::NoServer { endpoint, cause }), Error::NoServer { endpoint: other, .. }) => {
            let cause =
                io::Error::new(cause.kind(), format!("{cause}; no server at {other} either"));
            Error::NoServer { endpoint, cause }
        }
        (Some(first), _) => first,
    }
}

/// The error of the system with an explanation.
fn with_text(source: &io::Error, text: &str) -> io::Error {
    io::Error::new(source.kind(), format!("{source}: {text}"))
}

fn is_socket(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Socket
}

fn has_lock(path: &Path) -> bool {
    lock_of(path).is_some_and(|lock| rustix::fs::lstat(lock).is_ok())
}

fn stale(there: &Stat) -> String {
    let or_busy = if REFUSED_IS_STALE { "" } else { ", or one whose backlog is full" };
    match owner_of(there.st_uid) {
        Owner::Us => format!(
            "it is the socket of a server that ended without removing it{or_busy}; the next one \
             takes it over"
        ),
        owner => {
            format!(
                "it is a socket of {owner}{or_busy}; only that user can serve there or remove it"
            )
        }
    }
}

fn permission_denied(there: Option<Stat>) -> String {
    let us = effective_user();
    match there {
        Some(there) => format!(
            "its socket, of user {} and with mode {:o}, excludes user {us}: connect as its user, \
             or allow that user in the server's Access",
            there.st_uid,
            there.st_mode & 0o777
        ),
        None => format!(
            "a directory of its path excludes user {us}: connect as its user, or choose a \
             path that both can reach"
        ),
    }
}
