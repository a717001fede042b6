//! The service.

use crate::protocol::{
    ADD, BAD_REQUEST, EXPORT, GET, IMPORT, LIST, NO_SUCH_NOTE, NOTE_MAX, Note, STATUS, STOP, WATCH,
    text_of,
};
use crate::store::{NotOpened, Store};
use crate::transfer::{self, Deadline, Places, TRANSFER_TIME};
use crate::{Failure, Place};
use msgpipe::{
    Client, Counters, Error, ErrorReply, Limits, MessageServer, PartSender, Request, Responder,
    Server, ServerCounts, ServerOptions, Stopper, Topic, Workers,
};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How long a service waits for the store of one that is ending.
const STORE_WAIT: Duration = Duration::from_secs(5);

pub fn serve(place: &Place) -> Result<(), Failure> {
    // First: a client that starts a service is told if it cannot be opened.
    let Some(store) = open(place)? else {
        return Ok(()); // another one serves already
    };
    // An upload is a request of many parts, each of them a note.
    let limits = Limits::new().with_message(NOTE_MAX + 8);
    // The store is closed after the server: until then nobody else may serve.
    let server = match ServerOptions::new().limits(limits).keep_name().bind(place.name.as_str()) {
        Err(Error::AlreadyServed { .. }) => return Ok(()),
        bound => bound?.accept_streams(),
    };
    let stopper = server.stopper();
    ctrlc::set_handler(move || stopper.stop())?;
    println!("listening at {}", server.endpoint());
    Ok(run(server, store, TRANSFER_TIME)?)
}

/// Serves until it is stopped.
fn run(
    server: Server<impl MessageServer>,
    store: Store,
    transfer_time: Duration,
) -> Result<(), Error> {
    let (stopper, counters) = (server.stopper(), server.counters());
    let (news, adding, places) = Default::default();
    let service = Service { store, news, stopper, counters, adding, places, transfer_time };
    let service = Arc::new(service);
    server.serve_workers_deferred(Workers::new(), move |request, responder| {
        service.handle(request, responder);
    })
}

/// `None`: another service has the store, and answers.
fn open(place: &Place) -> Result<Option<Store>, Failure> {
    let until = Instant::now() + STORE_WAIT;
    loop {
        match Store::open(&place.directory) {
            Ok(store) => return Ok(Some(store)),
            Err(NotOpened::Failed(error)) => return Err(error),
            Err(NotOpened::InUse) if Client::connect(place.name.as_str()).is_ok() => {
                return Ok(None);
            }
            Err(NotOpened::InUse) if Instant::now() < until => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(NotOpened::InUse) => {
                let directory = place.directory.display();
                return Err(format!("{directory}: another process has the notes open").into());
            }
        }
    }
}

struct Service {
    store: Store,
    news: Topic,
    stopper: Stopper,
    counters: Counters,
    /// Notes are published in the order in which they are kept.
    adding: Mutex<()>,
    places: Places,
    transfer_time: Duration,
}

impl Service {
    fn handle(self: &Arc<Self>, request: Request, responder: Responder) {
        match request.method() {
            ADD => responder.reply(text_of(&request.body()).and_then(|text| self.add(&text))),
            GET => responder.reply(self.get(&request.body())),
            IMPORT | LIST | EXPORT => self.begin_transfer(request, responder),
            WATCH => self.news.subscribe(responder),
            STATUS => responder.reply(self.status().map_err(internal)),
            STOP => {
                responder.reply("");
                self.stopper.stop();
            }
            other => {
                let text = format!("there is no method {other}");
                responder.reply(Err::<String, _>(ErrorReply::new(BAD_REQUEST, text)));
            }
        }
    }

    fn add(&self, text: &str) -> Result<String, ErrorReply> {
        let _one_at_a_time = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.store.add(text).map_err(internal)?;
        self.news.publish(Note { number, text: text.to_owned() }.encode());
        Ok(number.to_string())
    }

    fn get(&self, number: &[u8]) -> Result<String, ErrorReply> {
        let number = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok());
        let number = number.ok_or(ErrorReply::new(BAD_REQUEST, "this is no number of a note"))?;
        let text = self.store.get(number).map_err(internal)?;
        text.ok_or_else(|| ErrorReply::new(NO_SUCH_NOTE, format!("there is no note {number}")))
    }

    /// On a thread of its own: no worker waits for a client.
    fn begin_transfer(self: &Arc<Self>, request: Request, responder: Responder) {
        let place = match self.places.take() {
            Ok(place) => place,
            Err(refused) => return responder.reply(Err::<String, _>(refused)),
        };
        let service = self.clone();
        let (give, given) = mpsc::channel();
        let begun = thread::Builder::new().name("transfer".to_owned()).spawn(move || {
            if let Ok((request, responder)) = given.recv() {
                service.transfer(request, responder, place);
            }
        });
        match begun {
            // It waits for them.
            Ok(_) => drop(give.send((request, responder))),
            Err(error) => responder.reply(Err::<String, _>(internal(error))),
        }
    }

    /// The place is free before the client learns that this is over.
    fn transfer(&self, request: Request, responder: Responder, place: transfer::Place) {
        let deadline = Deadline::new(self.transfer_time);
        if request.method() == IMPORT {
            let reply = self.import(request, deadline);
            drop(place);
            return responder.reply(reply.map_err(internal));
        }
        let mut parts = responder.into_parts();
        let sent = self.send_all(&mut parts, request.method() == EXPORT, deadline);
        drop(place);
        match sent {
            Ok(()) => parts.finish(),
            Err(error) => parts.fail(internal(error)),
        }
    }

    /// An upload that is cancelled, or whose client is killed, leaves nothing.
    fn import(&self, request: Request, deadline: Deadline) -> Result<String, Failure> {
        let texts = deadline.receive(request.into_parts())?;
        let _one_at_a_time = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = self.store.import(texts)?;
        for note in &kept {
            self.news.publish(note.encode());
        }
        Ok(kept.len().to_string())
    }

    fn send_all(
        &self,
        parts: &mut PartSender,
        with_count: bool,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        if with_count {
            parts.send(self.store.len()?.to_string())?;
        }
        self.store.each(|note| deadline.send(parts, &note))
    }

    fn status(&self) -> Result<String, Failure> {
        let counts = self.counters.read();
        Ok(format!(
            "{} notes\n{} clients, {} watch\n{} requests, {} open, {} failed",
            self.store.len()?,
            clients(&counts),
            self.news.subscribers(),
            counts.requests.begun,
            counts.requests.open(),
            counts.requests.failed,
        ))
    }
}

/// Clients that are connected. The two are not counted at one moment: a client may come and go between them.
fn clients(counts: &ServerCounts) -> u64 {
    counts.connected.saturating_sub(counts.closed)
}

/// What the application did not expect. An error reply goes through as it is.
fn internal(error: impl Into<Failure>) -> ErrorReply {
    match error.into().downcast::<ErrorReply>() {
        Ok(reply) => *reply,
        Err(other) => ErrorReply::new(ErrorReply::FAILED, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use msgpipe::memory::Hub;

    /// Calls `test` with a function that connects to a service with these notes, whose transfers may take 200 ms.
    fn with_service(notes: Vec<String>, test: impl FnOnce(&dyn Fn() -> Client)) {
        let directory = tempfile::tempdir().unwrap();
        let Ok(store) = Store::open(directory.path()) else { panic!("it can be opened") };
        store.import(notes).unwrap();
        let (hub, limits) = (Hub::new(), Limits::default());
        let server = Server::over(hub.listen_for_calls("notes", limits.clone()).unwrap(), limits);
        let server = server.accept_streams();
        let stopper = server.stopper();
        let serving = thread::spawn(|| run(server, store, Duration::from_millis(200)));
        test(&|| {
            let stream = Box::new(hub.connect("notes").unwrap());
            Client::over(stream, "notes", Limits::default())
        });
        stopper.stop();
        serving.join().unwrap().unwrap();
    }

    /// The time is that of the whole import: notes now and then do not prolong it.
    #[test]
    fn an_import_that_does_not_end_is_refused_at_its_deadline() {
        with_service(Vec::new(), |connect| {
            let client = connect();
            let (mut upload, mut parts) = client.with_method(IMPORT).duplex().unwrap();
            let refused = loop {
                upload.send("one more").ok();
                match parts.next_within(Duration::from_millis(20)) {
                    Err(Error::Deadline { .. }) => {}
                    ended => break ended.unwrap_err(),
                }
            };
            assert!(refused.to_string().contains("within 200ms"), "{refused}");
            assert_eq!(client.with_method(ADD).call("milk").unwrap(), "1", "nothing of it is kept");
        });
    }

    #[test]
    fn an_export_that_nobody_reads_ends_at_its_deadline() {
        // More than is on its way to a client that does not read.
        with_service(vec!["x".repeat(60_000); 100], |connect| {
            // Each on a connection of its own: the parts of one connection wait for each other.
            let stalled: Vec<_> = (0..16)
                .map(|_| {
                    let mut parts = connect().with_method(EXPORT).stream("").unwrap();
                    assert_eq!(parts.next().unwrap().unwrap(), "100");
                    parts
                })
                .collect();
            // All places are taken, until the time is over.
            let client = connect();
            while client.with_method(LIST).stream("").unwrap().next().unwrap().is_err() {}
            for parts in stalled {
                let last = parts.last().unwrap().unwrap_err();
                assert!(last.to_string().contains("within 200ms"), "{last}");
            }
        });
    }

    #[test]
    fn a_client_that_is_counted_as_closed_first_is_no_client() {
        let mut counts = ServerCounts::default();
        for (connected, closed, now) in [(3, 1, 2), (1, 1, 0), (1, 2, 0)] {
            (counts.connected, counts.closed) = (connected, closed);
            assert_eq!(clients(&counts), now);
        }
    }
}
