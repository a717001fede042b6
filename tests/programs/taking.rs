//! The ways to take a reply, or not to take it.

use super::plan::{Reply, Taking};
use super::world::{PATIENCE, World, front};
use bytes::Bytes;
use msgpipe::{Call, Error, Parts};
use std::io::Read;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

/// A wait that often ends before what is waited for has come.
const SHORT: Duration = Duration::from_millis(1);

/// How many messages of a topic a subscriber takes at most.
const NEWS: usize = 20;

/// Takes the reply of a call as it was planned.
pub fn reply(world: &World, number: usize, mut call: Call) {
    let asked = &world.asked[number];
    let gives_up = || asked.has_given_up.store(true, SeqCst);
    let outcome = match asked.ask.taking {
        Taking::Cancel => {
            gives_up();
            return call.cancel();
        }
        Taking::Drop => {
            gives_up();
            return drop(call);
        }
        Taking::Detach => {
            let is_lasting = asked.ask.deadline.is_none() && asked.ask.is_one_message();
            asked.is_detached.store(is_lasting, SeqCst);
            return call.detach();
        }
        Taking::Within => loop {
            if let Some(outcome) = call.wait_within(SHORT) {
                break outcome;
            }
        },
        Taking::Try => loop {
            match call.try_wait() {
                Some(outcome) => break outcome,
                None => thread::yield_now(),
            }
        },
        _ if asked.ask.has_metadata => {
            let outcome = call.wait_with_metadata();
            return world.ends(
                number,
                outcome.map(|(reply, metadata)| {
                    world.comes_with(number, &metadata);
                    reply
                }),
            );
        }
        _ => return world.ends(number, call.wait()),
    };
    if call.try_wait().is_some() || call.wait_within(PATIENCE).is_some() {
        world.is_wrong_of(number, "it ended twice");
    }
    world.ends(number, outcome);
}

/// Waits for any of these calls, until all have ended.
pub fn any(world: &World, together: Vec<(usize, Call)>) {
    let (mut numbers, mut calls): (Vec<_>, Vec<_>) = together.into_iter().unzip();
    while !calls.is_empty() {
        match Call::wait_any(&mut calls, Some(PATIENCE)) {
            Ok(Some(at)) => {
                let (number, mut call) = (numbers.swap_remove(at), calls.swap_remove(at));
                match call.try_wait() {
                    Some(outcome) => world.ends(number, outcome),
                    None => world.is_wrong_of(number, "it has not ended, as was said"),
                }
            }
            other => return world.is_wrong(format!("waiting for any of {numbers:?}: {other:?}")),
        }
    }
}

/// Takes the parts of a reply as it was planned.
pub fn parts(world: &World, number: usize, mut parts: Parts) {
    let asked = &world.asked[number];
    if asked.ask.reply == Reply::Subscribe {
        return news(world, number, parts);
    }
    let most = match asked.ask.taking {
        Taking::Some(count) => count,
        Taking::Cancel | Taking::Drop | Taking::Detach => 0,
        Taking::Read => return read(world, number, parts),
        _ => usize::MAX,
    };
    let mut came = 0;
    while came < most {
        match next(asked.ask.taking, &mut parts) {
            Ok(Some(part)) => {
                world.part_comes(number, came, &part);
                if came == 0 {
                    world.comes_with(number, &parts.metadata());
                }
                came += 1;
            }
            Ok(None) => return world.parts_end(number, came, Ok(())),
            Err(error) => return world.parts_end(number, came, Err(error)),
        }
    }
    asked.has_given_up.store(true, SeqCst);
}

fn next(taking: Taking, parts: &mut Parts) -> Result<Option<Bytes>, Error> {
    loop {
        match taking {
            Taking::Within => match parts.next_within(SHORT) {
                Err(Error::Deadline { .. }) => {}
                next => return next,
            },
            Taking::Try => match parts.try_next() {
                Some(next) => return next,
                None => thread::yield_now(),
            },
            _ => return parts.next().transpose(),
        }
    }
}

/// Reads a reply of parts as bytes.
fn read(world: &World, number: usize, mut parts: Parts) {
    let mut bytes = Vec::new();
    let end = parts.read_to_end(&mut bytes);
    let all = world.asked[number].reply(number);
    let is_its_own = all.concat().starts_with(&bytes);
    if !is_its_own || end.is_ok() && bytes.len() != all.concat().len() {
        world.is_wrong_of(number, format!("another reply, of {} bytes", bytes.len()));
    }
    match end {
        Ok(_) => world.parts_end(number, all.len(), Ok(())),
        Err(error) => match error.downcast::<Error>() {
            // Of the parts only their bytes are known here.
            Ok(error) => world.parts_end(number, all.len(), Err(error)),
            Err(error) => world.is_wrong_of(number, error),
        },
    }
}

/// Takes messages of a topic: their numbers follow each other.
fn news(world: &World, number: usize, mut parts: Parts) {
    let mut expected = None;
    for _ in 0..NEWS {
        match parts.next_within(SHORT) {
            Ok(Some(part)) => {
                let next = front(&part);
                if expected.is_some_and(|expected| expected != next) {
                    world.is_wrong_of(number, format!("message {next} for {expected:?}"));
                }
                expected = Some(next + 1);
            }
            Err(Error::Deadline { .. }) => break,
            Ok(None) => return world.parts_end(number, 0, Ok(())),
            Err(error) => return world.parts_end(number, 0, Err(error)),
        }
    }
    world.asked[number].has_given_up.store(true, SeqCst);
}
