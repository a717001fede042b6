//! The loop of a server: requests to the handler, answers to those who asked.

use super::responder::{Answer, Outbox, Request, Responder};
use super::{OnAcceptFailure, Server, Stopper};
use crate::error::{Error, ErrorReply};
use crate::exchange::{Envelope, Kind, Refused, Requests};
use crate::framing::GoodbyeCode;
use crate::ids::IdMap;
use crate::limits::Limits;
use crate::message_server::{ConnectionId, Event, Goodbye, MessageServer, Peer, Refusal};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// A server that runs.
pub(super) struct Answering<M> {
    messages: M,
    on_accept_failure: Option<OnAcceptFailure>,
    limits: Limits,
    outbox: Arc<Outbox>,
    stopper: Stopper,
    callers: IdMap<ConnectionId, Caller>,
    /// Requests that are not answered yet, of all callers.
    open: usize,
    /// It was told to stop, and gives up waiting at this time.
    stopping: Option<Instant>,
    /// All answers have been given: connections are closed as soon as they have left.
    says_goodbye: bool,
}

/// A connected client.
struct Caller {
    peer: Arc<Peer>,
    requests: Requests,
    /// Answers that wait until what was sent before them has been read.
    held: VecDeque<(u32, Answer)>,
    /// Their bytes.
    held_bytes: usize,
}

/// How a handler answers one request.
pub(super) struct Answerer<'a, M> {
    server: &'a mut Answering<M>,
    connection: ConnectionId,
    id: u32,
}

impl<M: MessageServer> Answerer<'_, M> {
    pub fn now(self, answer: Answer) {
        self.server.answer(self.connection, self.id, answer);
    }

    pub fn later(self) -> Responder {
        Responder::new(self.server.outbox.clone(), self.connection, self.id)
    }
}

impl<M: MessageServer> Answering<M> {
    pub fn new(server: Server<M>) -> Answering<M> {
        let stopper = server.stopper();
        let Server { messages, limits, outbox, on_accept_failure, .. } = server;
        Answering {
            messages,
            on_accept_failure,
            limits,
            outbox,
            stopper,
            callers: IdMap::default(),
            open: 0,
            stopping: None,
            says_goodbye: false,
        }
    }

    pub fn run(mut self, mut handler: impl FnMut(Request, Answerer<'_, M>)) -> Result<(), Error> {
        loop {
            self.answer_all();
            if self.stopper.stop.load(Ordering::SeqCst) && self.is_stopped() {
                return Ok(());
            }
            let left = self.stopping.map(|until| until.saturating_duration_since(Instant::now()));
            let Some(event) = self.messages.poll(left)? else {
                continue;
            };
            match event {
                Event::Connected(connection) => self.connected(connection),
                Event::Message(connection, message) => {
                    if let Some((id, request)) = self.request(connection, message) {
                        handler(request, Answerer { server: &mut self, connection, id });
                    }
                }
                Event::Drained(connection) => self.send_held(connection),
                Event::Closed(connection, _) => {
                    let caller = self.callers.remove(&connection);
                    self.open -= caller.map_or(0, |caller| caller.requests.len());
                }
                Event::AcceptFailed(error) => {
                    if let Some(tell) = &mut self.on_accept_failure {
                        tell(error);
                    }
                }
                Event::Woken => {}
            }
        }
    }

    fn connected(&mut self, connection: ConnectionId) {
        let peer = Arc::new(self.messages.peer(connection).cloned().unwrap_or_default());
        let caller =
            Caller { peer, requests: Requests::default(), held: VecDeque::new(), held_bytes: 0 };
        self.callers.insert(connection, caller);
        if self.says_goodbye {
            self.say_goodbye(connection);
        }
    }

    /// Reads a message's envelope. `None`: it was no request, or it has its answer already.
    fn request(&mut self, connection: ConnectionId, mut message: Bytes) -> Option<(u32, Request)> {
        let envelope = match Envelope::decode(&mut message) {
            Ok(Envelope { kind: Kind::Request, id }) => Ok(id),
            Ok(Envelope { id, .. }) => {
                Err(format!("a reply to request {id}, which a server does not ask"))
            }
            Err(error) => Err(error.to_string()),
        };
        let id = match envelope {
            Ok(id) => id,
            Err(text) => {
                self.messages.close(connection, Goodbye::new(GoodbyeCode::PROTOCOL, text));
                return None;
            }
        };
        let caller = self.callers.get_mut(&connection)?;
        match caller.requests.begin(id, self.limits.in_flight) {
            Ok(()) => self.open += 1,
            Err(error @ Refused::Duplicate { .. }) => {
                let why = Goodbye::new(GoodbyeCode::PROTOCOL, error.to_string());
                self.messages.close(connection, why);
                return None;
            }
            Err(error @ Refused::TooMany { .. }) => {
                let refusal = ErrorReply::new(ErrorReply::TOO_MANY_REQUESTS, error.to_string());
                self.send(connection, id, Err(refusal));
                return None;
            }
        }
        if self.stopping.is_some() {
            let refusal = ErrorReply::new(ErrorReply::STOPPING, "the server stops");
            self.answer(connection, id, Err(refusal));
            return None;
        }
        let peer = caller.peer.clone();
        Some((id, Request { body: message, connection, peer }))
    }

    /// Takes over the answers that were given outside the loop.
    fn answer_all(&mut self) {
        for (connection, id, answer) in self.outbox.take() {
            self.answer(connection, id, answer);
        }
    }

    /// Answers an open request; that of a caller who has gone needs no answer.
    fn answer(&mut self, connection: ConnectionId, id: u32, answer: Answer) {
        let Some(caller) = self.callers.get_mut(&connection) else {
            return;
        };
        if caller.requests.finish(id) {
            self.open -= 1;
            self.send(connection, id, answer);
        }
    }

    /// Sends an answer, or holds it until the caller has read more.
    fn send(&mut self, connection: ConnectionId, id: u32, answer: Answer) {
        let Some(caller) = self.callers.get_mut(&connection) else {
            return;
        };
        let answer = match caller.held.is_empty() {
            true => send_now(&mut self.messages, connection, id, answer).err(),
            false => Some((id, answer)),
        };
        let Some((id, answer)) = answer else { return };
        caller.held_bytes += size_of_answer(&answer);
        if caller.held_bytes <= self.limits.held {
            return caller.held.push_back((id, answer));
        }
        caller.held = VecDeque::new();
        let text = format!("{} bytes of replies wait to be read", caller.held_bytes);
        self.messages.close(connection, Goodbye::new(GoodbyeCode::UNREAD, text));
    }

    fn send_held(&mut self, connection: ConnectionId) {
        let Some(caller) = self.callers.get_mut(&connection) else {
            return;
        };
        while let Some((id, answer)) = caller.held.pop_front() {
            let size = size_of_answer(&answer);
            if let Err(held) = send_now(&mut self.messages, connection, id, answer) {
                return caller.held.push_front(held);
            }
            caller.held_bytes -= size;
        }
        if self.says_goodbye {
            self.say_goodbye(connection);
        }
    }

    fn say_goodbye(&mut self, connection: ConnectionId) {
        let why = Goodbye::new(GoodbyeCode::STOPPING, "the server stops");
        self.messages.close(connection, why);
    }

    /// Whether a server that was told to stop has nothing left to do. The first time, it stops
    /// taking clients and requests; once all answers are given, it closes the connections.
    fn is_stopped(&mut self) -> bool {
        let now = Instant::now();
        let until = *self.stopping.get_or_insert_with(|| {
            self.messages.stop_accepting();
            now + self.limits.drain
        });
        let is_late = until <= now;
        if is_late || (self.open == 0 && !self.says_goodbye) {
            self.says_goodbye = true;
            let done = |(&id, caller): (&ConnectionId, &Caller)| {
                (is_late || caller.held.is_empty()).then_some(id)
            };
            let done: Vec<ConnectionId> = self.callers.iter().filter_map(done).collect();
            done.into_iter().for_each(|connection| self.say_goodbye(connection));
        }
        is_late || self.callers.is_empty()
    }
}

fn size_of_answer(answer: &Answer) -> usize {
    match answer {
        Ok(body) => body.len(),
        Err(error) => error.text.len(),
    }
}

/// Sends an answer; gives it back if too much waits for that caller already.
fn send_now(
    messages: &mut impl MessageServer,
    connection: ConnectionId,
    id: u32,
    answer: Answer,
) -> Result<(), (u32, Answer)> {
    let (kind, body) = match answer {
        Ok(body) => (Kind::Reply, body),
        Err(error) => (Kind::Error { code: error.code }, error.text.into()),
    };
    let head = Envelope { kind, id }.encode();
    let Err(error) = messages.send_with_head(connection, &head, body) else {
        return Ok(());
    };
    match error.refusal {
        Refusal::Gone => Ok(()),
        Refusal::Full { .. } => Err((id, back_to_answer(kind, error.body))),
        Refusal::Framing(why) => {
            let text = format!("the answer was {why}");
            if !send_short(messages, connection, id, &text) {
                // Without an answer the caller would wait for nothing.
                let why = Goodbye::new(GoodbyeCode::TOO_LARGE, "no answer fits into your limit");
                messages.close(connection, why);
            }
            Ok(())
        }
    }
}

/// Answers that the answer is too large, in as many words as the caller's limit leaves room for.
fn send_short(
    messages: &mut impl MessageServer,
    connection: ConnectionId,
    id: u32,
    text: &str,
) -> bool {
    let head = Envelope { kind: Kind::Error { code: ErrorReply::REPLY_TOO_LARGE }, id }.encode();
    [text, "too large", ""].into_iter().any(|text| {
        let text = Bytes::copy_from_slice(text.as_bytes());
        messages.send_with_head(connection, &head, text).is_ok()
    })
}

fn back_to_answer(kind: Kind, body: Bytes) -> Answer {
    match kind {
        Kind::Error { code } => Err(ErrorReply::new(code, String::from_utf8_lossy(&body))),
        _ => Ok(body),
    }
}
