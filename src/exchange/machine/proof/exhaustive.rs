//! Breadth-first over all states of small worlds.
//!
//! A state is kept as the actions that lead to it: that is smaller than the state by far, and a failure prints
//! the shortest way to it. Which states were seen is known by a hash of 128 bits of each.

use super::programs::{number, threads};
use super::scopes;
use super::world::{Scope, World};
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Instant;

/// The numbers of the actions that lead to a state.
type Way = Vec<u8>;

/// Two hashes of 64 bits. Of 10^8 states two are taken for one with a probability below 10^-20.
#[derive(Clone, Copy)]
struct Wide([u64; 2]);

impl Wide {
    fn of(world: &World) -> u128 {
        let mut hasher = Wide([0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7344]);
        world.hash(&mut hasher);
        u128::from(hasher.0[0]) << 64 | u128::from(hasher.0[1])
    }

    fn add(&mut self, word: u64) {
        let [one, two] = &mut self.0;
        let product = u128::from(*one ^ word) * 0x9E37_79B9_7F4A_7C15_u128;
        *one = (product as u64) ^ (product >> 64) as u64;
        let product = u128::from(two.rotate_left(29) ^ word) * 0xD6E8_FEB8_6659_FD93_u128;
        *two = (product as u64).wrapping_add((product >> 64) as u64).wrapping_add(1);
    }
}

impl Hasher for Wide {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word) ^ (chunk.len() as u64) << 60);
        }
    }

    fn finish(&self) -> u64 {
        self.0[0]
    }
}

/// The keys are hashes already.
#[derive(Clone, Copy, Default)]
struct Key(u64);

impl Hasher for Key {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().take(8).fold(0, |word, byte| word << 8 | u64::from(*byte));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Seen = HashSet<u128, BuildHasherDefault<Key>>;

/// Goes ways from the beginning, each from where it leaves the one before: neighbours share most of theirs.
struct Walk<'a> {
    scope: &'a Scope,
    way: Way,
    /// The worlds along the way, the first of them new.
    worlds: Vec<World>,
}

impl<'a> Walk<'a> {
    fn new(scope: &'a Scope) -> Walk<'a> {
        Walk { scope, way: Way::new(), worlds: vec![World::new(scope)] }
    }

    /// The world at the end of a way.
    fn to(&mut self, way: &[u8]) -> &World {
        let shared = self.way.iter().zip(way).take_while(|(one, other)| one == other).count();
        self.worlds.truncate(1 + shared);
        self.way.truncate(shared);
        for &number in &way[shared..] {
            let mut world = self.here().clone();
            let action = world.actions(self.scope)[usize::from(number)];
            world.act(self.scope, action);
            self.worlds.push(world);
            self.way.push(number);
        }
        self.here()
    }

    fn here(&self) -> &World {
        self.worlds.last().expect("the first one stays")
    }

    /// The states that one action leads to from the end of a way, with their hashes.
    fn successors(&mut self, way: &[u8]) -> Vec<(u128, Way)> {
        let scope = self.scope;
        let world = self.to(way);
        let actions = world.actions(scope);
        if actions.iter().all(|action| action.is_extra()) && !world.broken {
            world.check_rest();
        }
        let next = |(number, action): (usize, &super::world::Action)| {
            let mut next = world.clone();
            next.act(scope, *action);
            next.halves.iter().for_each(|half| half.machine.check());
            let mut longer = Vec::with_capacity(way.len() + 1);
            longer.extend_from_slice(way);
            longer.push(number as u8);
            (Wide::of(&next), longer)
        };
        actions.iter().enumerate().map(next).collect()
    }
}

/// Panics with the way that fails.
fn fail(name: &str, scope: &Scope, way: &[u8]) -> ! {
    let mut world = World::new(scope);
    for &number in way {
        let action = world.actions(scope)[usize::from(number)];
        eprintln!("  {action:?}");
        world.act(scope, action);
    }
    world.check_rest();
    panic!("{name}: {way:?} failed once, and not again");
}

/// Visits all states of a world, or `most` of them. The number of states.
fn visit(name: &str, scope: &Scope, most: usize, threads: usize) -> usize {
    let (mut seen, mut level) = (Seen::default(), vec![Way::new()]);
    while !level.is_empty() && seen.len() < most {
        let shards = level.chunks(level.len().div_ceil(threads));
        let found = Mutex::new((&mut seen, Vec::new()));
        std::thread::scope(|threads| {
            for shard in shards {
                threads.spawn(|| {
                    let mut walk = Walk::new(scope);
                    for part in shard.chunks(64) {
                        let mut new = Vec::new();
                        for way in part {
                            let tried = catch_unwind(AssertUnwindSafe(|| walk.successors(way)));
                            match tried {
                                Ok(states) => new.extend(states),
                                Err(_) => {
                                    eprintln!("{name}: after {way:?}");
                                    fail_after(name, scope, way);
                                }
                            }
                        }
                        let mut found = found.lock().unwrap();
                        let (seen, next) = &mut *found;
                        next.extend(
                            new.into_iter()
                                .filter(|(hash, _)| seen.insert(*hash))
                                .map(|(_, way)| way),
                        );
                    }
                });
            }
        });
        level = found.into_inner().unwrap().1;
    }
    seen.len()
}

/// Finds the action that fails, and fails with it.
fn fail_after(name: &str, scope: &Scope, way: &[u8]) -> ! {
    let count = Walk::new(scope).to(way).actions(scope).len();
    for number in 0..count {
        let longer = [way, &[number as u8]].concat();
        let works = catch_unwind(AssertUnwindSafe(|| {
            let mut walk = Walk::new(scope);
            walk.to(&longer).halves.iter().for_each(|half| half.machine.check());
        }));
        if works.is_err() {
            fail(name, scope, &longer);
        }
    }
    fail(name, scope, way)
}

#[test]
fn every_state_of_small_worlds_is_sound() {
    // How many states of each world are visited; `scripts/prove-calls` visits more.
    let (scopes, most) = match number("MSGPIPE_STATES") {
        Some(most) => (scopes::whole(), most),
        None => (scopes::small(), 2_000),
    };
    let mut all = 0;
    for (name, scope) in scopes {
        let began = Instant::now();
        let states = visit(name, &scope, most, threads());
        all += states;
        println!("{name}: {states} states in {:.1?}", began.elapsed());
    }
    println!("{all} states");
}
