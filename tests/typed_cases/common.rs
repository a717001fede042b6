//! A service with a method of each kind, and servers of it.

use msgpipe::typed::{self, Context, Incoming, Progress, Service, ServiceError, Subscriber, Topic};
use msgpipe::{Client, Limits, MessageServer, Server, Stopper, WhenFull, Workers, memory};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A deadline that only a failing test reaches.
pub const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    pub id: u64,
    pub text: String,
    pub tags: Vec<String>,
    pub place: Option<Place>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Place {
    Shelf,
    Box { number: u32 },
    Old(Vec<Note>),
}

#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
pub enum NoteError {
    #[error("no note {0}")]
    NotFound(u64),
    #[error("full: {room} of {all}")]
    Full { room: u32, all: u32 },
    #[error("wrong: {0}")]
    Wrong(String),
}

impl ServiceError for NoteError {
    fn code(&self) -> u16 {
        match self {
            NoteError::NotFound(_) => 404,
            NoteError::Full { .. } => 507,
            // Not an application's: it becomes the default.
            NoteError::Wrong(_) => 7,
        }
    }
}

impl From<typed::IncomingError> for NoteError {
    fn from(error: typed::IncomingError) -> NoteError {
        NoteError::Wrong(error.to_string())
    }
}

#[typed::service]
pub trait Notes {
    /// Adds a note, and returns its number.
    fn add(&self, text: String, tags: Vec<String>) -> Result<u64, NoteError>;
    #[idempotent]
    fn get(&self, id: u64) -> Result<Note, NoteError>;
    fn count(&self) -> usize;
    fn clear(&self);
    fn echo(&self, note: Note, place: Option<Place>) -> (Note, Option<Place>);
    fn peer(&self, prefix: String, context: &Context) -> String;
    fn panics(&self) -> Result<(), NoteError>;
    fn list(
        &self,
        from: u64,
    ) -> Result<impl Iterator<Item = Result<Note, NoteError>> + Send, NoteError>;
    fn numbers(&self, up_to: u64) -> impl Iterator<Item = u64>;
    fn import(&self, notes: Incoming<Note>, first: u64) -> Result<u64, NoteError>;
    fn sums(
        &self,
        numbers: Incoming<u64>,
    ) -> Result<impl Iterator<Item = Result<u64, NoteError>>, NoteError>;
    fn export(&self, path: String, progress: Progress<u32>) -> Result<String, NoteError>;
    fn watch(&self, topic: String, news: Subscriber<Note>) -> Result<(), NoteError>;
    #[one_way]
    fn touched(&self, id: u64, context: &Context);
    /// It was once called `old_name`.
    #[name = "Notes.old_name"]
    fn new_name(&self, r#type: u8) -> u8;
}

pub struct Store {
    pub notes: Mutex<BTreeMap<u64, Note>>,
    pub news: Topic<Note>,
    pub told: SyncSender<(u64, &'static str)>,
}

impl Store {
    pub fn new() -> (Store, Receiver<(u64, &'static str)>) {
        let (told, tells) = sync_channel(1024);
        (Store { notes: Mutex::default(), news: Topic::new(WhenFull::Close), told }, tells)
    }

    fn add_note(&self, text: String, tags: Vec<String>) -> u64 {
        let mut notes = self.notes.lock().unwrap();
        let id = notes.len() as u64 + 1;
        let note = Note { id, text, tags, place: None };
        self.news.publish(&note).unwrap();
        notes.insert(id, note);
        id
    }
}

impl Notes for Store {
    fn add(&self, text: String, tags: Vec<String>) -> Result<u64, NoteError> {
        match text.as_str() {
            "full" => Err(NoteError::Full { room: 1, all: 2 }),
            "wrong" => Err(NoteError::Wrong(text)),
            _ => Ok(self.add_note(text, tags)),
        }
    }

    fn get(&self, id: u64) -> Result<Note, NoteError> {
        self.notes.lock().unwrap().get(&id).cloned().ok_or(NoteError::NotFound(id))
    }

    fn count(&self) -> usize {
        self.notes.lock().unwrap().len()
    }

    fn clear(&self) {
        self.notes.lock().unwrap().clear();
    }

    fn echo(&self, note: Note, place: Option<Place>) -> (Note, Option<Place>) {
        (note, place)
    }

    fn peer(&self, prefix: String, context: &Context) -> String {
        let has_time = context.deadline().is_some() && !context.is_cancelled();
        format!(
            "{prefix} {} {} {has_time}",
            context.method(),
            context.connection().id() == context.connection().id()
        )
    }

    fn panics(&self) -> Result<(), NoteError> {
        panic!("as it is told")
    }

    fn list(
        &self,
        from: u64,
    ) -> Result<impl Iterator<Item = Result<Note, NoteError>> + Send, NoteError> {
        if from == 0 {
            return Err(NoteError::NotFound(0));
        }
        let all: Vec<Note> =
            self.notes.lock().unwrap().range(from..).map(|(_, it)| it.clone()).collect();
        let checked = all.into_iter().map(|note| match note.text.as_str() {
            "unreadable" => Err(NoteError::NotFound(note.id)),
            "panic" => panic!("as it is told"),
            _ => Ok(note),
        });
        Ok(checked)
    }

    fn numbers(&self, up_to: u64) -> impl Iterator<Item = u64> {
        0..up_to
    }

    fn import(&self, notes: Incoming<Note>, first: u64) -> Result<u64, NoteError> {
        let mut count = first;
        for note in notes {
            let note = note?;
            if note.text == "stop" {
                return Err(NoteError::Full { room: 0, all: 0 });
            }
            self.add_note(note.text, note.tags);
            count += 1;
        }
        Ok(count)
    }

    fn sums(
        &self,
        numbers: Incoming<u64>,
    ) -> Result<impl Iterator<Item = Result<u64, NoteError>>, NoteError> {
        let mut sum = 0;
        Ok(numbers.map(move |number| {
            sum += number?;
            Ok(sum)
        }))
    }

    fn export(&self, path: String, progress: Progress<u32>) -> Result<String, NoteError> {
        for percent in [0, 50, 100] {
            progress.report(percent);
        }
        match path.as_str() {
            "" => Err(NoteError::NotFound(0)),
            "panic" => panic!("as it is told"),
            _ => Ok(path),
        }
    }

    fn watch(&self, topic: String, news: Subscriber<Note>) -> Result<(), NoteError> {
        match topic.as_str() {
            "news" => self.news.subscribe(news),
            "state" => {
                // Nothing is published between the state and what follows it.
                let _unchanged = self.notes.lock().unwrap();
                let first = Note { id: 0, text: "state".into(), tags: Vec::new(), place: None };
                self.news.subscribe_with(news, &first);
            }
            "dropped" => {}
            _ => return Err(NoteError::Wrong(topic)),
        }
        Ok(())
    }

    fn touched(&self, id: u64, context: &Context) {
        self.told.send((id, context.method())).unwrap();
    }

    fn new_name(&self, r#type: u8) -> u8 {
        r#type + 1
    }
}

/// A server on a thread, and what connects to it.
pub struct Serving {
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
    connect: Box<dyn Fn() -> Client + Send + Sync>,
}

pub fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("msgpipe.typed.{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn limits() -> Limits {
    Limits::new().with_call(PATIENCE)
}

type Serve<M> = Box<dyn FnOnce(Server<M>) + Send>;

impl Serving {
    fn run<M: MessageServer + Send + 'static>(
        server: Server<M>,
        serve: Serve<M>,
        connect: impl Fn() -> Client + Send + Sync + 'static,
    ) -> Serving {
        let stopper = server.stopper();
        let thread = Some(thread::spawn(move || serve(server)));
        Serving { stopper, thread, connect: Box::new(connect) }
    }

    pub fn in_memory(serve: Serve<memory::MemoryServer>) -> Serving {
        let hub = memory::Hub::new();
        let server = Server::over(hub.listen_for_calls("typed", limits()).unwrap(), limits());
        let connect = move || {
            Client::over(Box::new(hub.connect("typed").unwrap()), "typed in memory", limits())
        };
        Serving::run(server, serve, connect)
    }

    pub fn on_system(serve: Serve<msgpipe::LocalServer>) -> Serving {
        let name = unique_name();
        let server = Server::bind_with(name.as_str(), limits()).unwrap();
        let connect = move || Client::connect_with(name.as_str(), limits()).unwrap();
        Serving::run(server, serve, connect)
    }

    /// Both transports, one after another.
    pub fn each(service: impl Service + Clone, case: impl Fn(&Serving)) {
        let (one, other) = (service.clone(), service);
        case(&Serving::in_memory(Box::new(|server| serve(server, one))));
        case(&Serving::on_system(Box::new(|server| serve(server, other))));
    }

    pub fn client(&self) -> Client {
        (self.connect)()
    }
}

fn serve<M: MessageServer>(server: Server<M>, service: impl Service) {
    server.serve_typed(Workers::new().threads(4), service).unwrap();
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stopper.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A case with the service above, in both codecs and over both transports.
pub fn each_way(case: impl Fn(&NotesClient, &Store)) {
    let (store, _told) = Store::new();
    let store = Arc::new(store);
    Serving::each(NotesServer::shared(store.clone()), |serving| {
        let client = NotesClient::new(serving.client());
        for codec in [typed::Codec::MessagePack, typed::Codec::Json] {
            store.clear();
            case(&client.with_codec(codec), &store);
        }
    });
}
