//! The service.

use crate::protocol::{
    ADD, BAD_REQUEST, EXPORT, GET, IMPORT, LIST, NO_SUCH_NOTE, NOTE_MAX, Note, STATUS, STOP, WATCH,
};
use crate::store::{NotOpened, Store};
use crate::{Failure, Place};
use msgpipe::{
    Client, Counters, Error, ErrorReply, Limits, PartSender, Request, Responder, ServerOptions,
    Stopper, Topic, Workers,
};
use std::sync::{Mutex, PoisonError};
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
    ctrlc::set_handler({
        let stopper = stopper.clone();
        move || stopper.stop()
    })?;
    println!("listening at {}", server.endpoint());
    let (counters, news) = (server.counters(), Topic::default());
    let service = Service { store, news, stopper, counters, adding: Mutex::new(()) };
    server.serve_workers_deferred(Workers::new(), move |request, responder| {
        service.handle(request, responder);
    })?;
    Ok(())
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
}

impl Service {
    fn handle(&self, request: Request, responder: Responder) {
        match request.method() {
            ADD => responder.reply(text_of(&request.body()).and_then(|text| self.add(&text))),
            GET => responder.reply(self.get(&request.body())),
            IMPORT => responder.reply(self.import(request)),
            LIST => self.send_all(responder, false),
            EXPORT => self.send_all(responder, true),
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

    /// An upload that is cancelled, or whose client is killed, leaves nothing.
    fn import(&self, request: Request) -> Result<String, ErrorReply> {
        let texts = request.into_parts().map(|part| Ok(text_of(&part?)?));
        let _one_at_a_time = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = self.store.import(texts).map_err(internal)?;
        for note in &kept {
            self.news.publish(note.encode());
        }
        Ok(kept.len().to_string())
    }

    fn send_all(&self, responder: Responder, with_count: bool) {
        let mut parts = responder.into_parts();
        match self.send_each(&mut parts, with_count) {
            Ok(()) => parts.finish(),
            Err(error) => parts.fail(internal(error)),
        }
    }

    fn send_each(&self, parts: &mut PartSender, with_count: bool) -> Result<(), Failure> {
        if with_count {
            parts.send(self.store.len()?.to_string())?;
        }
        self.store.each(|note| Ok(parts.send(note.encode())?))
    }

    fn status(&self) -> Result<String, Failure> {
        let counts = self.counters.read();
        Ok(format!(
            "{} notes\n{} clients, {} watch\n{} requests, {} open, {} failed",
            self.store.len()?,
            counts.connected - counts.closed,
            self.news.subscribers(),
            counts.requests.begun,
            counts.requests.open(),
            counts.requests.failed,
        ))
    }
}

fn text_of(bytes: &[u8]) -> Result<String, ErrorReply> {
    if bytes.len() > NOTE_MAX {
        let text = format!("a note of {} bytes is over the limit of {NOTE_MAX}", bytes.len());
        return Err(ErrorReply::new(BAD_REQUEST, text));
    }
    let text = String::from_utf8(bytes.to_vec());
    text.map_err(|_| ErrorReply::new(BAD_REQUEST, "a note is a text in UTF-8"))
}

/// What the application did not expect. An error reply goes through as it is.
fn internal(error: impl Into<Failure>) -> ErrorReply {
    match error.into().downcast::<ErrorReply>() {
        Ok(reply) => *reply,
        Err(other) => ErrorReply::new(ErrorReply::FAILED, other.to_string()),
    }
}
