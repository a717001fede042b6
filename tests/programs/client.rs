//! The clients of a program: each thread does what was planned for it, and passes what it sees to the model.

use super::plan::{Act, Ask, Kind, Listens, Reply, Taking};
use super::taking::{any, parts, reply};
use super::transport::Transport;
use super::world::{Acts, PATIENCE, SETTLE, World, fill, front, metadata, numbered};
use bytes::Bytes;
use msgpipe::{Call, Client, Error, ErrorReply, Incoming, Limits, Parts, ServerMessage, Upload};
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Instant;

/// Runs a client until it has closed.
pub fn run(world: &World, index: usize, threads: &[Acts], transport: &Transport, limits: &Limits) {
    let client = match transport.connect(limits) {
        Ok(client) => client,
        Err(_) if world.is_stopped() => return,
        Err(error) => return world.is_wrong(format!("client {index} cannot connect: {error}")),
    };
    let mut incoming = match world.clients[index].listens {
        Listens::Not => None,
        _ => Some(client.incoming().unwrap()),
    };
    thread::scope(|scope| {
        if world.clients[index].listens == Listens::OnAThread {
            let incoming = incoming.take().unwrap();
            scope.spawn(move || incoming.listen(|message| hears(world, index, message)));
        }
        let acting: Vec<_> = threads
            .iter()
            .enumerate()
            .map(|(thread, acts)| {
                let incoming = incoming.take();
                let actor = Actor::new(world, client.clone(), index, thread, incoming);
                scope.spawn(move || actor.run(acts))
            })
            .collect();
        for thread in acting {
            match thread.join() {
                Ok(left) => incoming = incoming.take().or(left),
                Err(_) => world.is_wrong(format!("a thread of client {index} panicked")),
            }
        }
        settle(world, index, &client, incoming);
        world.closes(index);
        client.close();
    });
    let counts = client.counts();
    if counts.calls.open() + counts.requests.open() > 0 {
        world.is_wrong(format!("not all that client {index} has begun has ended: {counts:?}"));
    }
}

/// A message that the server sent unasked.
fn hears(world: &World, index: usize, message: ServerMessage) {
    match message {
        ServerMessage::Notification(it) => {
            let number = it.method() as usize - 1;
            let (asked, body) = (&world.asked[number], it.body());
            let next = asked.heard.fetch_add(1, SeqCst);
            let size = body.len().saturating_sub(4);
            if asked.client != index || body != numbered(next, size, number) {
                world.is_wrong_of(number, format!("notification {} for {next}", front(&body)));
            }
        }
        ServerMessage::Request(request) => {
            let number = request.method() as usize - 1;
            let asked = &world.asked[number];
            let is_first = asked.called_back.fetch_add(1, SeqCst) == 0;
            let is_asked = matches!(&asked.ask.reply,
                Reply::CallBack(size, _) if request.body() == fill(*size, number, 9));
            if asked.client != index || !is_first || !is_asked {
                world.is_wrong_of(number, "another call of the server, or twice");
            }
            match number % 4 {
                2 => request.reply(Err::<(), _>(ErrorReply::new(400, "the client says no"))),
                3 => drop(request),
                _ => request.reply(fill(number % 700, number, 5)),
            }
        }
        _ => world.is_wrong("an unknown message of the server"),
    }
}

/// Waits until all has arrived that nobody waits for, if nothing ends the connection.
fn settle(world: &World, index: usize, client: &Client, mut incoming: Option<Incoming>) {
    let client = client.with_method(SETTLE).with_timeout(PATIENCE);
    let side = &world.clients[index];
    let is_settled = || {
        let are_there =
            side.notified.iter().all(|[sent, arrived]| sent.load(SeqCst) == arrived.load(SeqCst));
        let its = || world.asked.iter().filter(|asked| asked.client == index);
        let is_heard = its().all(|asked| {
            side.listens == Listens::Not || asked.sent.load(SeqCst) == asked.heard.load(SeqCst)
        });
        let is_carried_out = its().all(|asked| {
            let is_done = world.is_tight || asked.begun.load(SeqCst) == 1;
            !asked.is_detached.load(SeqCst) || is_done
        });
        are_there && is_heard && is_carried_out
    };
    let began = Instant::now();
    while !world.may_close(index) && !is_settled() {
        match client.call("") {
            Ok(_) => thread::yield_now(),
            Err(Error::TooManyCalls { .. } | Error::Answered { .. }) if world.is_tight => {
                thread::yield_now();
            }
            Err(_) if world.may_close(index) => return,
            Err(error) => return world.is_wrong(format!("client {index} settles: {error}")),
        }
        incoming.iter_mut().for_each(|it| look(world, index, it));
        if began.elapsed() > PATIENCE {
            return world.is_wrong(format!("client {index}: something has not arrived"));
        }
    }
}

/// Takes what has arrived unasked.
fn look(world: &World, index: usize, incoming: &mut Incoming) {
    loop {
        match incoming.try_next() {
            Ok(Some(message)) => hears(world, index, message),
            Ok(None) => return,
            Err(_) if world.may_close(index) => return,
            Err(error) => return world.is_wrong(format!("client {index} listens: {error}")),
        }
    }
}

/// A thread of a client.
struct Actor<'a> {
    world: &'a World,
    client: Client,
    index: usize,
    thread: usize,
    incoming: Option<Incoming>,
    /// Calls whose outcome is taken later, and those that are waited for together.
    later: Vec<(usize, Call)>,
    together: Vec<(usize, Call)>,
    /// A stream that is taken later.
    open: Option<(usize, Parts)>,
}

impl<'a> Actor<'a> {
    fn new(
        world: &'a World,
        client: Client,
        index: usize,
        thread: usize,
        incoming: Option<Incoming>,
    ) -> Actor<'a> {
        let (later, together, open) = Default::default();
        Actor { world, client, index, thread, incoming, later, together, open }
    }

    fn run(mut self, acts: &Acts) -> Option<Incoming> {
        for (number, act) in acts {
            self.act(*number, act);
            let (world, index) = (self.world, self.index);
            self.incoming.iter_mut().for_each(|it| look(world, index, it));
        }
        any(self.world, std::mem::take(&mut self.together));
        for (number, call) in self.later {
            self.world.ends(number, call.wait());
        }
        if let Some((number, stream)) = self.open {
            parts(self.world, number, stream);
        }
        self.incoming
    }

    fn act(&mut self, number: usize, act: &Act) {
        let world = self.world;
        match act {
            Act::Ask(_) => self.ask(number),
            Act::Batch(asks) => self.batch(number, asks.len()),
            Act::Notify { count, size } => self.notify(*count, *size),
            Act::Publish(count) => (0..*count).for_each(|_| world.publish()),
            Act::CloseClient => {
                world.closes(self.index);
                self.client.close();
            }
            Act::Stop => world.stop(),
        }
    }

    fn notify(&self, count: u32, size: usize) {
        let method = (self.index * 8 + self.thread) as u32;
        let client = self.client.with_method(method).with_timeout(PATIENCE);
        let sent = &self.world.clients[self.index].notified[self.thread][0];
        for _ in 0..count {
            let body = numbered(sent.load(SeqCst), size, self.index);
            match client.notify(body) {
                Ok(()) => sent.fetch_add(1, SeqCst),
                Err(Error::Full { .. }) => return,
                Err(Error::Closed { .. }) if self.world.may_close(self.index) => return,
                Err(error) => return self.world.is_wrong(format!("a notification: {error}")),
            };
        }
    }

    fn batch(&mut self, first: usize, count: usize) {
        let client = self.client.with_method(first as u32 + 1).with_timeout(PATIENCE);
        let mut batch = client.batch();
        let numbers = first..first + count;
        for number in numbers.clone() {
            batch.add(self.world.asked[number].request(number, first).swap_remove(0));
        }
        match batch.send() {
            Ok(calls) => numbers.zip(calls).for_each(|(number, call)| self.take(number, call)),
            Err(error) => numbers.for_each(|number| self.world.fails(number, &error)),
        }
    }

    fn ask(&mut self, number: usize) {
        let asked = &self.world.asked[number];
        let ask = &asked.ask;
        let client = self.client.with_method(number as u32 + 1);
        let client = client.with_timeout(ask.deadline.unwrap_or(PATIENCE));
        let client = match ask.has_metadata {
            true => client.with_metadata(metadata(number)),
            false => client,
        };
        let mut request = asked.request(number, number);
        let begun = match ask.kind {
            Kind::Unary => client.start(request.swap_remove(0)).map(|call| self.take(number, call)),
            Kind::Stream => {
                client.stream(request.swap_remove(0)).map(|parts| self.take_parts(number, parts))
            }
            Kind::Upload => client.upload().map(|upload| self.upload(number, upload, request)),
            Kind::Duplex => client.duplex().map(|(upload, parts)| {
                let world = self.world;
                thread::scope(|scope| {
                    scope.spawn(|| {
                        if let Some(upload) = send(world, number, upload, request) {
                            upload.end().unwrap();
                        }
                    });
                    self.take_parts(number, parts);
                });
            }),
        };
        if let Err(error) = begun {
            self.world.fails(number, &error);
        }
    }

    fn upload(&mut self, number: usize, upload: Upload, request: Vec<Bytes>) {
        if let Some(upload) = send(self.world, number, upload, request) {
            match upload.finish() {
                Ok(call) => self.take(number, call),
                Err(error) => self.world.fails(number, &error),
            }
        }
    }

    /// Takes the reply of a call, now or later.
    fn take(&mut self, number: usize, call: Call) {
        match self.world.asked[number].ask.taking {
            Taking::Later => self.later.push((number, call)),
            Taking::Any => {
                self.together.push((number, call));
                if self.together.len() > 2 {
                    any(self.world, std::mem::take(&mut self.together));
                }
            }
            _ => reply(self.world, number, call),
        }
    }

    fn take_parts(&mut self, number: usize, stream: Parts) {
        let Ask { taking, kind, .. } = &self.world.asked[number].ask;
        // One at a time: the handlers of all of them wait meanwhile.
        match (taking, &self.open) {
            (Taking::Later, None) if *kind == Kind::Stream => self.open = Some((number, stream)),
            _ => parts(self.world, number, stream),
        }
    }
}

/// Sends the parts of a request. Returns what ends it, if it was planned to be ended.
fn send(world: &World, number: usize, mut upload: Upload, request: Vec<Bytes>) -> Option<Upload> {
    let asked = &world.asked[number];
    for part in request {
        if let Err(error) = upload.send(part) {
            world.is_refused(number, &error);
            break;
        }
        asked.given.fetch_add(1, SeqCst);
    }
    match asked.ask.finishes {
        true => asked.is_finished.store(true, SeqCst),
        false => asked.has_given_up.store(true, SeqCst),
    }
    Some(upload).filter(|_| asked.ask.finishes)
}
