//! Runs programs, makes a failing one smaller, and prints it.

use super::calling::call_client;
use super::case::{Case, NAME, fill, numbered};
use super::client::{Actor, NO_MARK};
use super::plan::{Actor as Who, Program, Step};
use super::server;
use super::signal::Signal;
use msgpipe::memory::{Simulation, World};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

/// How long a stall lasts by itself at most.
const LONGEST_STALL: Duration = Duration::from_secs(20);

/// Runs a program. `Err`: what the model does not allow.
pub fn run(program: &Program) -> Result<(u64, Duration, u64), Vec<String>> {
    let weather = program.weather;
    let simulation = Simulation::new(program.seed)
        .resets(weather.resets)
        .stalls(weather.stalls, LONGEST_STALL)
        .refusals(weather.refusals)
        .pieces(weather.pieces);
    let simulation = if weather.is_busy { simulation.busy_machine() } else { simulation };
    let program = program.clone();
    let ran = catch_unwind(AssertUnwindSafe(|| {
        simulation.run(|world| async move { play(world, &program).await })
    }));
    match ran {
        Ok(Ok(ended)) if ended.value.is_empty() => Ok((ended.trace, ended.after, ended.polls)),
        Ok(Ok(ended)) => Err(ended.value),
        Ok(Err(stuck)) => Err(vec![format!("stuck {stuck}")]),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(vec![format!("panicked: {}", text.unwrap_or_default())])
        }
    }
}

async fn play(world: World, program: &Program) -> Vec<String> {
    let case = Arc::new(Case::new(program, world));
    let mark = Arc::new(AtomicU32::new(NO_MARK));
    server::start(&case);
    let of = |who: Who| {
        let steps = case.program.steps.iter().filter(|(actor, _)| *actor == who);
        steps.map(|(_, step)| step.clone()).collect::<Vec<Step>>()
    };
    let clients = 0..program.clients.len();
    let actors: Vec<_> = clients
        .map(|index| {
            let steps = of(Who::Client(index));
            world.spawn(Actor::new(&case, index, &mark).run(steps))
        })
        .collect();
    let nature = of(Who::Nature);
    for step in &nature {
        nature_does(&case, step).await;
    }
    let mut left = Vec::new();
    for actor in actors {
        match world.within(case.longest(), actor).await {
            Some(Some(actor)) => left.push(actor),
            _ => case.is_wrong("a client does not come to its end"),
        }
    }
    if case.has_wrong() {
        return case.all_wrong();
    }
    // Nothing goes wrong any more.
    world.calm();
    world.connections(NAME).iter().for_each(|connection| connection.resume());
    // Servers that were to begin have begun, and calls that nobody waits for are over.
    world.pass(Duration::from_secs(120)).await;
    for actor in &mut left {
        actor.calls_now().await;
    }
    // The connections go on, and no call does.
    server::are_told(&case);
    mark.store(case.published.load(SeqCst), SeqCst);
    let ending: Vec<_> = left.into_iter().map(|actor| world.spawn(actor.ends())).collect();
    for round in 0.. {
        if ending.iter().all(|it| it.has_ended()) {
            break;
        }
        if round > 2000 {
            case.is_wrong(format!("tasks of clients go on: {:?}", world.places()));
            break;
        }
        case.publish(1);
        world.pass(Duration::from_millis(100)).await;
    }
    // Calls that were left to themselves end by their deadlines.
    world.pass(Duration::from_secs(200)).await;
    let server = case.server.lock().unwrap().clone();
    if let Some(server) = server {
        server.is_alone(&case);
    }
    server::end(&case, false, None);
    // The time for closing, and for handlers that nobody tells anything.
    world.pass(Duration::from_secs(200)).await;
    if world.tasks() > 1 {
        case.is_wrong(format!("tasks are left: {:?}", world.places()));
    }
    case.check_end();
    case.all_wrong()
}

async fn nature_does(case: &Arc<Case>, step: &Step) {
    let world = case.world;
    match step {
        Step::Pass(time) => world.pass(*time).await,
        Step::Cut(at) => {
            let connections = world.connections(NAME);
            if let Some(connection) = connections.get(*at) {
                connection.reset();
            }
        }
        Step::Stall(at, time) => {
            let connections = world.connections(NAME);
            if let Some(connection) = connections.get(*at).cloned() {
                connection.stall();
                let time = *time;
                world.spawn(async move {
                    world.pass(time).await;
                    connection.resume();
                });
            }
        }
        Step::Jump(time) => case.jump(*time),
        Step::Publish { count, size } => (0..*count).for_each(|_| case.publish(*size)),
        Step::Stop(after) => server::end(case, false, Some(*after)),
        Step::Kill(after) => server::end(case, true, Some(*after)),
        _ => to_clients(case, step),
    }
}

/// What the application of the server does.
fn to_clients(case: &Arc<Case>, step: &Step) {
    let Some(server) = case.server.lock().unwrap().clone() else { return };
    for connection in server.connections.list() {
        let id = connection.id().number();
        let method = (server.number as u32) << 16 | id as u32;
        match step {
            Step::Tell { count, size } => {
                let connection = connection.with_method(method);
                for _ in 0..*count {
                    let mut told = server.told.lock().unwrap();
                    let next = told.entry(id).or_default();
                    if connection.try_notify(numbered(*next, *size, 5)).is_ok() {
                        *next += 1;
                    }
                }
            }
            Step::CallClients { size, time } => {
                call_client(case, &connection, *time, fill(*size, 3, 3), &Signal::default());
            }
            Step::CloseClients => {
                connection.close(msgpipe::Goodbye::new(200, "the program says so"));
            }
            _ => {}
        }
    }
}

/// Removes steps while it still fails.
pub fn shrink(program: &Program) -> (Program, Vec<String>) {
    let mut smallest = program.clone();
    let mut why = run(&smallest).err().unwrap_or_default();
    let mut runs = 0;
    let mut fails = |candidate: &Program| {
        runs += 1;
        if runs > 3000 { None } else { run(candidate).err() }
    };
    let mut chunk = smallest.steps.len().div_ceil(2).max(1);
    loop {
        let (mut at, mut has_shrunk) = (0, false);
        while at < smallest.steps.len() {
            let mut candidate = smallest.clone();
            let end = (at + chunk).min(candidate.steps.len());
            candidate.steps.drain(at..end);
            match fails(&candidate) {
                Some(wrong) => (smallest, why, has_shrunk) = (candidate, wrong, true),
                None => at += chunk,
            }
        }
        match chunk {
            1 if !has_shrunk => break,
            _ => chunk = (chunk / 2).max(1),
        }
    }
    type Simpler = fn(&mut Program);
    let simpler: [Simpler; 6] = [
        |it| it.weather.resets = 0,
        |it| it.weather.stalls = 0,
        |it| it.weather.refusals = 0,
        |it| it.weather.pieces = 0,
        |it| it.weather.is_busy = false,
        |it| it.room = super::plan::Room::Enough,
    ];
    for simpler in simpler {
        let mut candidate = smallest.clone();
        simpler(&mut candidate);
        if let Some(wrong) = fails(&candidate) {
            (smallest, why) = (candidate, wrong);
        }
    }
    (smallest, why)
}
