//! Services, and the server of one.

use super::error::code;
use super::interface::{Described, Interface};
use super::serving::{ServerCall, Told};
use crate::error::{Error, ErrorReply};
use crate::message_server::MessageServer;
use crate::server::{ClientNotification, Request, Responder, Server, Workers};
use std::sync::Arc;

/// What a typed server serves: `NotesServer` of a `trait Notes`, or several of them as a tuple.
pub trait Service: Described + Send + Sync + 'static {
    /// Passes the call to its method, and returns it if there is none.
    #[doc(hidden)]
    fn dispatch(&self, call: ServerCall) -> Option<ServerCall>;

    /// Passes a notification to its method, if there is one.
    #[doc(hidden)]
    fn notified(&self, told: &Told<'_>);

    /// Passes a request to its method, on this thread, and its outcome to the client: for a server with a handler of your
    /// own, as one that serves other requests as well. [`Server::serve_typed`] does this on workers. On the server's own
    /// thread, as with [`Server::serve_deferred`], methods must be quick, and those with a reply of many parts have room for
    /// some 512 KiB; those with a request of many parts cannot wait for it.
    ///
    /// ```no_run
    /// # use msgpipe::typed;
    /// # #[typed::service] trait Sums { fn add(&self, a: u64, b: u64) -> u64; }
    /// # struct Adding; impl Sums for Adding { fn add(&self, a: u64, b: u64) -> u64 { a + b } }
    /// use msgpipe::typed::Service;
    ///
    /// let sums = SumsServer::new(Adding);
    /// let server = msgpipe::Server::bind("com.example.sums")?;
    /// let server = server.describe(typed::Interface::of::<SumsServer<Adding>>().to_json());
    /// server.serve_deferred(move |request, responder| match request.method() {
    ///     0 => responder.reply("not typed"),
    ///     _ => sums.handle(request, responder),
    /// })?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    fn handle(&self, request: Request, responder: Responder) {
        let Some(call) = self.dispatch(ServerCall::new(request, responder)) else { return };
        let text = format!(
            "no method has the number {:#010x} here: the server is older than the client, or serves something else (`msgpipe inspect` says what)",
            call.number()
        );
        call.refuse(ErrorReply::new(code::UNKNOWN_METHOD, text));
    }

    /// Passes a notification to its method, on this thread. One that is wrong, or of no method, is dropped.
    fn handle_notification(&self, notification: &ClientNotification) {
        self.notified(&Told(notification));
    }
}

macro_rules! several {
    ($($($kind:ident $index:tt),*;)*) => {$(
        impl<$($kind: Described),*> Described for ($($kind,)*) {
            fn describe(interface: &mut Interface) {
                $($kind::describe(interface);)*
            }
        }

        impl<$($kind: Service),*> Service for ($($kind,)*) {
            fn dispatch(&self, call: ServerCall) -> Option<ServerCall> {
                $(let call = self.$index.dispatch(call)?;)*
                Some(call)
            }

            fn notified(&self, told: &Told<'_>) {
                $(self.$index.notified(told);)*
            }
        }
    )*};
}

several! {
    A 0, B 1;
    A 0, B 1, C 2;
    A 0, B 1, C 2, D 3;
}

impl<M: MessageServer> Server<M> {
    /// Serves a typed service, or several as a tuple, on [`Workers`], until the server is
    /// [stopped](crate::Stopper::stop). Feature `typed`; [`msgpipe::typed`](crate::typed) has an example.
    ///
    /// Methods run on workers, several at once, and may block. Those that are one-way run on the server's own thread,
    /// in the order in which a client sends them, and must be quick. A hook of
    /// [`on_notification`](Server::on_notification) that was set before is replaced.
    ///
    /// # Errors
    /// As [`serve_workers`](Server::serve_workers); [`Error::Misuse`] if two methods of several services have the same number.
    pub fn serve_typed(self, workers: Workers, service: impl Service) -> Result<(), Error> {
        let interface = interface_of(&service);
        if let Some((one, other)) = interface.same_number() {
            let problem = format!(
                "the methods {one} and {other} have the same number on the wire: give one of them another name"
            );
            return Err(Error::Misuse { endpoint: self.endpoint().into(), problem });
        }
        let service = Arc::new(service);
        let told = service.clone();
        let server = self.describe(interface.to_json()).accept_streams();
        let server = server.on_notification(move |it| told.handle_notification(&it));
        server.serve_workers_deferred(workers, move |request, responder| {
            service.handle(request, responder);
        })
    }
}

fn interface_of<S: Service>(_: &S) -> Interface {
    Interface::of::<S>()
}
