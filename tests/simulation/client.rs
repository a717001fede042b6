//! The clients of a program.

use super::asking::{Via, ask};
use super::case::{Case, NAME, front, numbered};
use super::places::Places;
use super::plan::{How, Plan, Step};
use super::server::{PING, SUBSCRIBE};
use super::subscribing::{subscribe, subscribe_again};
use msgpipe::memory::SimulatedTask;
use msgpipe::tokio::{Client, Incoming, ReconnectingClient};
use msgpipe::{Backoff, ClientOptions, CloseReason, Error, ErrorReply, ServerMessage};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

/// From this message of the topic on, subscribers may go.
pub static NO_MARK: u32 = u32::MAX;

/// A client's process.
pub struct Actor {
    pub case: Arc<Case>,
    pub index: usize,
    plan: Plan,
    again: ReconnectingClient,
    plain: Option<(usize, Client)>,
    /// The tasks of the process.
    tasks: Vec<SimulatedTask<()>>,
    drivers: Vec<SimulatedTask<CloseReason>>,
    mark: Arc<AtomicU32>,
    /// The one that connects again is closed.
    is_closed: Arc<AtomicBool>,
    places: Places,
}

fn options(case: &Case) -> ClientOptions {
    ClientOptions::new().limits(case.limits())
}

impl Actor {
    pub fn new(case: &Arc<Case>, index: usize, mark: &Arc<AtomicU32>) -> Actor {
        let again = ReconnectingClient::new(NAME, &options(case), Backoff::new()).unwrap();
        let (case, mark, plan) = (case.clone(), mark.clone(), case.program.clients[index]);
        let (plain, tasks, drivers, is_closed, places) = Default::default();
        Actor { case, index, plan, again, plain, tasks, drivers, mark, is_closed, places }
    }

    /// Does its part of the program, and waits until all of it has ended.
    pub async fn run(mut self, steps: Vec<Step>) -> Actor {
        for step in &steps {
            self.step(step).await;
        }
        self
    }

    async fn step(&mut self, step: &Step) {
        let world = self.case.world;
        match step {
            Step::Ask(asked) => {
                let via = match self.plan.again {
                    true => Some(Via::Again(self.again.clone())),
                    false => self.connected().await.map(|(id, client)| Via::Plain(id, client)),
                };
                let Some(via) = via else { return };
                let place = self.places.take();
                let asking = ask(self.case.clone(), via, asked.clone(), place);
                match asked.beside {
                    true => self.tasks.push(world.spawn(asking)),
                    false => asking.await,
                }
            }
            Step::Notify { count, size } => self.notify(*count, *size).await,
            Step::Pass(time) => world.pass(*time).await,
            Step::Subscribe => self.subscribe().await,
            Step::Close => {
                if self.plan.again {
                    self.is_closed.store(true, SeqCst);
                    self.again.close();
                }
                if let Some((_, client)) = self.plain.take() {
                    client.close();
                }
            }
            Step::Die => {
                self.tasks.drain(..).for_each(|task| task.abort());
                self.drivers.drain(..).for_each(|driver| driver.abort());
                (self.plain, self.is_closed, self.places) = Default::default();
                let backoff = Backoff::new();
                self.again = ReconnectingClient::new(NAME, &options(&self.case), backoff).unwrap();
            }
            _ => {}
        }
    }

    /// The connection, or a new one.
    async fn connected(&mut self) -> Option<(usize, Client)> {
        let world = self.case.world;
        if let Some(known) = self.plain.clone().filter(|(_, client)| !client.is_closed()) {
            return Some(known);
        }
        let (began, time) = (world.now(), self.case.limits().connect);
        let connected = Client::connect_with_driver(NAME, &options(&self.case)).await;
        self.case.check_time("connecting", began + time, Duration::from_millis(50));
        match connected {
            Ok((client, driver)) => {
                self.drivers.push(world.spawn(driver));
                let id = self.case.new_connection();
                if self.plan.listens {
                    match client.incoming() {
                        Ok(incoming) => {
                            self.tasks.push(world.spawn(listen(self.case.clone(), incoming)));
                        }
                        Err(error) => self.check(&error),
                    }
                }
                self.plain = Some((id, client.clone()));
                Some((id, client))
            }
            Err(error) => {
                self.check(&error);
                None
            }
        }
    }

    fn check(&self, error: &Error) {
        if !self.case.may_end(error) {
            self.case.is_wrong(format!("client {}: {error}", self.index));
        }
    }

    async fn notify(&mut self, count: u32, size: usize) {
        let Some((id, client)) = self.connected().await else { return };
        let client = client.with_method(id as u32);
        for _ in 0..count {
            // Two tasks of a client do not notify at once.
            let next = self.case.connections.lock().unwrap()[id].sent;
            match client.notify(numbered(next, size, id)).await {
                Ok(()) => self.case.connections.lock().unwrap()[id].sent += 1,
                Err(Error::Full { .. }) => return,
                Err(error) => return self.check(&error),
            }
        }
    }

    async fn subscribe(&mut self) {
        let (case, world) = (self.case.clone(), self.case.world);
        if case.program.how == How::AtOnce {
            return;
        }
        let place = self.places.take();
        let task = match self.plan.again {
            true => {
                let (client, mark) = (self.again.with_method(SUBSCRIBE), self.mark.clone());
                world.spawn(subscribe_again(case, client, mark, self.is_closed.clone(), place))
            }
            false => {
                let Some((_, client)) = self.connected().await else { return };
                world.spawn(subscribe(case, client.with_method(SUBSCRIBE), place))
            }
        };
        self.tasks.push(task);
    }

    /// Nothing goes wrong any more: it can call.
    pub async fn calls_now(&mut self) {
        if self.plan.again {
            let client = self.again.with_method(PING).idempotent();
            match client.call("").await {
                Ok(reply) if reply == "pong" => {}
                Err(Error::Closed { reason: CloseReason::Local, .. })
                    if self.is_closed.load(SeqCst) => {}
                Err(error) if self.may_be_full(&error) => {}
                other => self.is_cut_off(format!("{other:?}")),
            }
            return;
        }
        // The first may find that the connection had ended.
        for left in [true, false] {
            let Some((_, client)) = self.connected().await else {
                return self.is_cut_off("it does not connect");
            };
            match client.with_method(PING).call("").await {
                Ok(reply) if reply == "pong" => return,
                Err(error) if self.may_be_full(&error) => return,
                _ if left && self.case.is_rough => client.close(),
                other => return self.is_cut_off(format!("{other:?}")),
            }
        }
    }

    /// Subscriptions may have all places.
    fn may_be_full(&self, error: &Error) -> bool {
        let is_full = match error {
            Error::TooManyCalls { .. } => true,
            Error::Answered { reply, .. } => reply.code == ErrorReply::TOO_MANY_REQUESTS,
            _ => false,
        };
        is_full && self.places.taken() >= self.case.limits().in_flight
    }

    fn is_cut_off(&self, why: impl std::fmt::Display) {
        let text = format!("client {} cannot call although nothing goes wrong: {why}", self.index);
        self.case.is_wrong(text);
    }

    /// Whether all its tasks have ended but those that listen.
    pub async fn ends(mut self) {
        // What listens ends with the connection.
        if let Some((_, client)) = self.plain.take() {
            client.close();
        }
        for task in self.tasks.drain(..) {
            task.await;
        }
    }
}

/// Takes what the server sends unasked: all notifications of one connection, in their order.
async fn listen(case: Arc<Case>, mut incoming: Incoming) {
    let (mut next, mut from) = (0, None);
    while let Some(message) = incoming.next().await {
        match message {
            Ok(ServerMessage::Notification(news)) => {
                let body = news.body();
                if *from.get_or_insert(news.method()) != news.method() || front(&body) != next {
                    let number = front(&body);
                    case.is_wrong(format!("the server's {number} in the place of {next}"));
                }
                next += 1;
            }
            Ok(ServerMessage::Request(request)) => {
                let (world, body) = (case.world, request.body());
                world.spawn(async move {
                    // Some are answered when nobody waits for it any more.
                    let most = if world.random(3) == 0 { 6000 } else { 30 };
                    world.pass(Duration::from_millis(world.random(most))).await;
                    if world.random(8) > 0 {
                        request.reply(body);
                    }
                });
            }
            Ok(_) => {}
            Err(error) if case.may_end(&error) => {}
            Err(Error::Closed { reason: CloseReason::Local, .. }) => {}
            Err(error) => case.is_wrong(format!("a client listens: {error}")),
        }
    }
}
