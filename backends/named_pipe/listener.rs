//! The listening instances.

use super::handle::{code, wide};
use super::identity::{client_of, own_sid};
use super::instance::{self, InstanceKind, KeptOpen, Place};
use super::mio_pipe::{self, MioPipe};
use super::opening::is_there;
use super::read_size::Extra;
use super::security;
use super::stream::PipeStream;
use crate::access::Access;
use crate::backends::event_loop::{Accepted, Acceptor, Next, Poller};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::framing::Carrier;
use crate::{Instances, ServerOptions};
use interprocess::os::windows::security_descriptor::SecurityDescriptor;
use mio::{Events, Registry, Token};
use std::collections::{HashMap, VecDeque};
use std::io;
#[cfg(test)]
use std::os::windows::io::AsRawHandle;
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::sync::Arc;
use widestring::U16CString;
use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_PIPE_BUSY};

/// The number of instances that listen at any time. Each takes one client before the loop has to run again;
/// with two the name is never missing, with four a burst of a few clients does not have to wait either.
const LISTENING: usize = 4;

/// The instances of one name without an accepted client.
pub(crate) struct Listener {
    name: U16CString,
    descriptor: SecurityDescriptor,
    /// The DACL is for the owner alone, and for LocalSystem, which can act as the owner.
    owner_only: bool,
    instances: Instances,
    /// With a fixed number of instances, those that stay open until others listen in their place.
    kept_open: Arc<KeptOpen>,
    /// The bytes by which the read buffers of all connections exceed mio's least size.
    extra: Arc<Extra>,
    carrier: Carrier,
    /// They wait for their clients.
    listening: HashMap<Token, Instance>,
    /// They have a client, and have not been returned by `accept` yet.
    connected: VecDeque<(Token, Instance)>,
}

/// An instance, registered with the poll.
struct Instance {
    mio: MioPipe,
    /// For whole messages, the handle that reads them: mio then has a handle without the right to read.
    reader: Option<OwnedHandle>,
    place: Option<Place>,
}

impl Instance {
    /// The handle with all rights.
    fn handle_to_read(&self) -> BorrowedHandle<'_> {
        self.reader.as_ref().map_or_else(|| self.mio.handle(), |reader| reader.as_handle())
    }
}

impl Listener {
    /// Listens at `endpoint`, with instances registered with `poller`. Also returns the pipe's name.
    pub fn bind(
        endpoint: &Endpoint,
        options: &ServerOptions,
        carrier: Carrier,
        poller: &mut Poller,
    ) -> Result<(Listener, Arc<str>), Error> {
        Listener::bind_with(endpoint, options, carrier, poller, |_| {})
    }

    /// As [`bind`](Listener::bind). `created` is called with the pipe's name when the instances have been
    /// created, before they are registered, for tests.
    pub(super) fn bind_with(
        endpoint: &Endpoint,
        options: &ServerOptions,
        carrier: Carrier,
        poller: &mut Poller,
        created: impl FnOnce(&str),
    ) -> Result<(Listener, Arc<str>), Error> {
        let shown: Arc<str> = endpoint.to_string().into();
        let sid = own_sid().map_err(|source| Error::system(&shown, "asking who we are", source))?;
        let shown: Arc<str> = endpoint.pipe_name(sid)?.into();
        let failed = |source| Error::system(&shown, "making the pipe", source);
        let name = wide(&shown).map_err(failed)?;
        let descriptor = security::descriptor(&options.access, &shown)?;
        let most = options.most();
        let first = match options.instances {
            Instances::Unlimited => LISTENING,
            Instances::Fixed(_) => most,
        };
        let make = |kind| {
            let made = instance::create(&name, kind, &descriptor);
            made.map_err(|source| why_not_made(kind, &shown, source))
        };
        // All are created before one is registered: an instance without an operation in flight is closed at
        // once if another cannot be created.
        let mut handles = vec![make(InstanceKind::First)?];
        while handles.len() < first {
            handles.push(make(InstanceKind::Additional)?);
        }
        created(&shown);
        let mut listener = Listener {
            name,
            descriptor,
            owner_only: options.access == Access::Owner,
            instances: options.instances,
            kept_open: Arc::default(),
            extra: Arc::default(),
            carrier,
            listening: HashMap::new(),
            connected: VecDeque::new(),
        };
        for handle in handles {
            listener.listen(handle, poller).map_err(failed)?;
        }
        Ok((listener, shown))
    }

    /// Starts to wait for a client on an instance.
    fn listen(&mut self, handle: OwnedHandle, poller: &mut Poller) -> io::Result<()> {
        let token = poller.next_token();
        let registry = poller.registry();
        let place = match self.instances {
            Instances::Unlimited => None,
            Instances::Fixed(_) => Some(Place::new(handle.as_handle(), &self.kept_open)?),
        };
        let extra = &self.extra;
        let (mio, reader) = match self.carrier {
            Carrier::Stream => (MioPipe::listen(handle, registry, token, extra)?, None),
            Carrier::Messages => {
                let mio = MioPipe::listen_without_reading(&handle, registry, token, extra)?;
                (mio, Some(handle))
            }
        };
        self.listening.insert(token, Instance { mio, reader, place });
        Ok(())
    }

    /// Makes the connects of all listening instances fail.
    #[cfg(test)]
    pub fn fail_connects(&self) {
        for instance in self.listening.values() {
            let handle = instance.mio.handle().as_raw_handle();
            // SAFETY: the handle is open as long as the pipe exists; null means every operation.
            let cancelled =
                unsafe { windows_sys::Win32::System::IO::CancelIoEx(handle, std::ptr::null()) };
            assert_ne!(cancelled, 0);
        }
    }

    /// Makes instances until enough of them listen. No event reports a connect that failed while no client
    /// was there: such an instance is found here.
    fn fill(&mut self, poller: &mut Poller, limit: usize) -> io::Result<()> {
        self.listening.retain(|_, instance| !instance.mio.has_failed());
        let wanted = match self.instances {
            Instances::Unlimited => LISTENING,
            Instances::Fixed(_) => limit.saturating_sub(self.connected.len()),
        };
        while self.listening.len() < wanted {
            let handle = instance::create(&self.name, InstanceKind::Additional, &self.descriptor)?;
            self.listen(handle, poller)?;
        }
        self.kept_open.release();
        Ok(())
    }
}

/// The system's errors for a first instance that is not the first (CreateNamedPipe): access denied; or no
/// more instances, where the first one has set their number. A further instance that is denied does not mean
/// another server: the name is already this server's.
fn why_not_made(kind: InstanceKind, endpoint: &Arc<str>, source: io::Error) -> Error {
    match (kind, code(&source)) {
        (InstanceKind::First, Some(ERROR_ACCESS_DENIED | ERROR_PIPE_BUSY)) => {
            Error::AlreadyServed { endpoint: endpoint.clone() }
        }
        (InstanceKind::First | InstanceKind::Only, _) => {
            Error::system(endpoint, "making the pipe", source)
        }
        (InstanceKind::Additional, _) => {
            Error::system(endpoint, "making a further instance", source)
        }
    }
}

impl Acceptor for Listener {
    type Stream = PipeStream;

    const CLOSES_BY_POLLING: bool = true;

    /// The first event of a listening instance says that its connect has succeeded or failed.
    fn ready(&mut self, token: Token) -> bool {
        let listening = self.listening.get(&token);
        let Some(has_client) = listening.map(|instance| instance.mio.has_client()) else {
            return false;
        };
        if has_client == Some(false) {
            return false;
        }
        // An instance whose connect failed is dropped; another takes its place.
        let instance = self.listening.remove(&token).filter(|_| has_client.is_some());
        self.connected.extend(instance.map(|instance| (token, instance)));
        true
    }

    /// A replacement listens before a client is returned, so that the name is never missing. If none can be
    /// made, the client waits.
    fn accept(&mut self, poller: &mut Poller, limit: usize) -> io::Result<Next<PipeStream>> {
        self.fill(poller, limit)?;
        let Some((token, instance)) = self.connected.pop_front() else {
            return Ok(Next::NoneWaiting);
        };
        // A client whose identity cannot be queried is refused.
        let Ok(peer) = client_of(instance.handle_to_read(), self.owner_only) else {
            return Ok(Next::Skipped);
        };
        let stream = match instance.reader {
            Some(reader) => PipeStream::of_messages(instance.mio, reader, &poller.wake, token)?,
            None => PipeStream::new(instance.mio),
        };
        let stream = stream.with_place(instance.place);
        // The event for what the client sent before it was accepted may have been reported already.
        Ok(Next::Client(Accepted { token, stream, peer, readable: true }))
    }

    fn close(self, _registry: &Registry) {}

    fn wait_until_gone(poller: &mut Poller, events: &mut Events, endpoint: &str) {
        mio_pipe::wait_until_gone(&mut poller.poll, events, || is_there(endpoint));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_instance_reports_another_server() {
        let endpoint: Arc<str> = "a pipe".into();
        for (kind, code, served) in [
            (InstanceKind::First, ERROR_ACCESS_DENIED, true),
            (InstanceKind::First, ERROR_PIPE_BUSY, true),
            (InstanceKind::First, 1450, false), // no system resources
            (InstanceKind::Additional, ERROR_ACCESS_DENIED, false),
            (InstanceKind::Additional, ERROR_PIPE_BUSY, false),
        ] {
            let error = why_not_made(kind, &endpoint, io::Error::from_raw_os_error(code as i32));
            match error {
                Error::AlreadyServed { .. } => assert!(served, "{kind:?}, {code}"),
                Error::System { cause, .. } => {
                    assert!(!served && cause.raw_os_error() == Some(code as i32), "{cause}");
                }
                error => panic!("{error}"),
            }
        }
    }
}
