//! Connections without a name, between a parent and its child: a pipe with one instance, whose server's end the child has
//! as its standard input. Its name is there for a moment, and leads nowhere: the instance has its client.

use super::client::PipeClient;
use super::handle::{check, own};
use super::identity::client_of;
use super::instance::{self, InstanceKind};
use super::mio_pipe::MioPipe;
use super::opening::open;
use super::read_size::Extra;
use super::security;
use super::standard::{null, replace};
use super::stream::PipeStream;
use crate::access::Access;
use crate::backends::event_loop::{Accepted, Poller};
use crate::client_stream::ClientStream;
use crate::error::Error;
use crate::framing::Carrier;
use crate::peer::Peer;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, IsTerminal};
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::process::{Child, Command, Stdio};
use std::ptr::null_mut;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use windows_sys::Win32::Foundation::{HANDLE_FLAG_INHERIT, SetHandleInformation, WAIT_OBJECT_0};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_TYPE_CHAR, FILE_TYPE_DISK, FILE_TYPE_PIPE, GetFileType,
};
use windows_sys::Win32::System::Console::STD_INPUT_HANDLE;
use windows_sys::Win32::System::Pipes::{GetNamedPipeInfo, PIPE_SERVER_END, PIPE_TYPE_MESSAGE};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, INFINITE, OpenProcess, PROCESS_SYNCHRONIZE, TerminateProcess,
    WaitForSingleObject,
};

/// The exit status of a child that did not end by itself after its parent.
const LEFT: u32 = 1;

/// Starts a child with the server's end, and returns the client's.
pub(crate) fn spawn(command: &mut Command) -> io::Result<(Box<dyn ClientStream>, Child)> {
    let (ours, theirs) = pair()?;
    let stream = PipeClient::new(&ours, Peer::default(), Carrier::Stream)?;
    let child = command.stdin(Stdio::from(theirs)).spawn();
    // The command would keep the child's end open, and the child's end would not be noticed.
    command.stdin(Stdio::null());
    Ok((Box::new(stream), child?))
}

/// The ends of a new pipe: the client's and the server's. If another process has the name, or is faster to connect, this
/// fails: then it has a connection to nobody.
fn pair() -> io::Result<(OwnedHandle, OwnedHandle)> {
    let (pid, random) = (std::process::id(), RandomState::new().build_hasher().finish());
    let name: Arc<str> = format!(r"\\.\pipe\msgpipe.child.{pid}.{random:016x}").into();
    let descriptor = security::descriptor(&Access::Owner, &name)
        .map_err(|error| io::Error::other(error.to_string()))?;
    let wide = super::handle::wide(&name)?;
    let server = instance::create(&wide, InstanceKind::Only, &descriptor)?;
    let client = open(&name, Duration::ZERO)?;
    Ok((client, server))
}

/// Takes the end that the parent has given to this process. With `exit_after` this process ends that long after the
/// parent. After an error everything is as before, except that the end may be closed.
pub(crate) fn inherit(
    poller: &mut Poller,
    exit_after: Option<Duration>,
    endpoint: &Arc<str>,
) -> Result<(Accepted<PipeStream>, Arc<str>), Error> {
    check_input().map_err(|problem| Error::Misuse { endpoint: endpoint.clone(), problem })?;
    take(poller, exit_after)
        .map_err(|source| Error::system(endpoint, "taking the connection to the parent", source))
}

fn take(
    poller: &mut Poller,
    exit_after: Option<Duration>,
) -> io::Result<(Accepted<PipeStream>, Arc<str>)> {
    let null = null()?;
    let input = io::stdin();
    let peer = client_of(input.as_handle(), true)?;
    let handle = input.as_raw_handle();
    replace(STD_INPUT_HANDLE, null)?;
    // SAFETY: the handle was the standard input's, which is another one now; the check has shown that it is open. Nobody
    // else closes it.
    let pipe = unsafe { OwnedHandle::from_raw_handle(handle) };
    // SAFETY: the handle is open.
    check(unsafe { SetHandleInformation(pipe.as_raw_handle(), HANDLE_FLAG_INHERIT, 0) })?;
    let token = poller.next_token();
    let mio = MioPipe::listen(pipe, poller.registry(), token, &Arc::<Extra>::default())?;
    if let Some(grace) = exit_after {
        watch(peer.pid.unwrap_or_default(), grace)?;
    }
    let name = format!("parent {peer}").into();
    let stream = PipeStream::new(mio);
    Ok((Accepted { token, stream, peer, readable: true }, name))
}

/// Says what standard input is, if it is not a connection to a parent.
fn check_input() -> Result<(), String> {
    const ADVICE: &str = "start this program with Client::spawn";
    let input = io::stdin();
    if input.is_terminal() {
        return Err(format!("it is a terminal: {ADVICE}, and not by hand"));
    }
    let handle = input.as_raw_handle();
    // SAFETY: a call that takes any value for a handle.
    let found = match unsafe { GetFileType(handle) } {
        _ if handle.is_null() => "closed",
        FILE_TYPE_PIPE if is_pair(input.as_handle()) => return Ok(()),
        FILE_TYPE_PIPE => {
            return Err(format!(
                "it is an ordinary pipe: {ADVICE}; for pipes there is Server::over_stdio"
            ));
        }
        FILE_TYPE_DISK => "a file",
        _ => "a device",
    };
    Err(format!("it is no connection to a parent, but {found}: {ADVICE}"))
}

/// Says why standard input and output do not carry a connection, if that is certain: nobody should see the protocol at a
/// console, and what a child of [`spawn`] has leads to its parent in one direction only.
pub(crate) fn check_standard_streams() -> Result<(), String> {
    let (input, output) = (io::stdin(), io::stdout());
    if input.is_terminal() || output.is_terminal() {
        return Err("one of them is a console".to_owned());
    }
    // SAFETY: a call that takes any value for a handle.
    let is_device = |handle| unsafe { GetFileType(handle) } == FILE_TYPE_CHAR;
    if is_device(input.as_raw_handle()) {
        return Err("standard input is a device".to_owned());
    }
    if is_device(output.as_raw_handle()) {
        return Err("standard output is a device".to_owned());
    }
    if !input.as_raw_handle().is_null() && is_pair(input.as_handle()) {
        return Err("standard input is a pipe in both directions to a parent".to_owned());
    }
    Ok(())
}

/// Whether this is the server's end of a pipe of messages with one instance, as [`pair`] makes it.
fn is_pair(pipe: BorrowedHandle<'_>) -> bool {
    let (mut flags, mut instances) = (0, 0);
    // SAFETY: the handle is open for as long as it is borrowed, and the two numbers outlive the call.
    let told = unsafe {
        GetNamedPipeInfo(pipe.as_raw_handle(), &mut flags, null_mut(), null_mut(), &mut instances)
    };
    let wanted = PIPE_SERVER_END | PIPE_TYPE_MESSAGE;
    check(told).is_ok() && flags & wanted == wanted && instances == 1
}

/// Ends this process some time after its parent, whatever its other threads do.
fn watch(parent: u32, grace: Duration) -> io::Result<()> {
    // SAFETY: the call takes any id; the handle returned is new and ours.
    let parent = unsafe { own(OpenProcess(PROCESS_SYNCHRONIZE, 0, parent)) };
    thread::Builder::new().name("msgpipe watch".into()).spawn(move || {
        // A parent that cannot be opened has ended.
        if let Ok(parent) = parent {
            // SAFETY: the handle is open.
            let waited = unsafe { WaitForSingleObject(parent.as_raw_handle(), INFINITE) };
            debug_assert_eq!(waited, WAIT_OBJECT_0);
        }
        thread::sleep(grace);
        // SAFETY: the pseudo handle of this process is always valid. Nothing of the process is run any more: the threads
        // that hang may hold the locks of its exit handlers.
        unsafe { TerminateProcess(GetCurrentProcess(), LEFT) };
    })?;
    Ok(())
}
