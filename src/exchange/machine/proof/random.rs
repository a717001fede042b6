//! Long random programs: many calls of all sizes, wires that cut, delay and merge, all disturbances.

use super::app::Plan;
use super::programs::{number, run_all};
use super::world::{Action, Scope, World};
use crate::exchange::machine::Config;
use crate::exchange::settings::Settings;
use proptest::prelude::*;

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), 1..20_usize, 100..1000_usize, 1000..5000_usize]
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(size(), 0..4)
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let plan = (sizes(), sizes(), any::<[bool; 5]>());
    let plan = plan.prop_map(|(request, reply, [bare, bare_end, fails, deadline, now])| {
        // Without messages of its own, the end is all that there is to be sent.
        let (bare, bare_end) = (bare || request.is_empty(), bare_end || request.is_empty());
        Plan { request, reply, bare, bare_end, fails, deadline, now }
    });
    // Most calls are of one message each way.
    let unary = (size(), size(), any::<bool>());
    let unary = unary
        .prop_map(|(request, reply, deadline)| Plan { deadline, ..Plan::unary(request, reply) });
    prop::collection::vec(prop_oneof![2 => plan, 1 => unary], 0..5)
}

fn scopes() -> impl Strategy<Value = Scope> {
    let windows = (200..2000_u64, 0..2000_u64, 1..6_u32, 1..6_usize, 1..400_usize, 0..2000_usize);
    let rest = (sizes(), sizes(), 0..6_u8, any::<[bool; 4]>(), any::<bool>(), 1..9_usize);
    (plans(), plans(), windows, rest).prop_map(|(client, server, windows, rest)| {
        let (call_window, more, calls, opens, piece, queue) = windows;
        let (notes, others, disturbances, [deadlines, drains, fills, breaks], assumes, in_flight) =
            rest;
        let settings = Settings {
            body: 5000,
            calls,
            call_window,
            connection_window: call_window + more,
            name: "random".to_owned(),
            grease: Some(call_window as u16),
        };
        // What is assumed until the settings arrive may be less than they say.
        let assumed = match assumes {
            true => Settings { call_window: 150, connection_window: 160, ..settings.clone() },
            false => settings.clone(),
        };
        let assumed = Settings { name: String::new(), grease: None, ..assumed };
        Scope {
            plans: [client, server],
            notes: [notes, others],
            disturbances,
            deadlines,
            drains,
            fills,
            breaks,
            in_flight,
            config: Config { settings, assumed, opens, queue, piece, piece_alone: 3 * piece },
        }
    })
}

/// Runs a program: each number chooses one of the actions that are possible then. Then the rest of what was
/// planned happens, and nothing must be left.
fn run(scope: &Scope, program: &[u16]) {
    let mut world = World::new(scope);
    for &number in program {
        let actions = world.actions(scope);
        if actions.is_empty() {
            return; // the connection is broken
        }
        let mut action = actions[usize::from(number) % actions.len()];
        if let Action::Deliver(side, _) = action {
            // Cut anywhere, or merged with what follows.
            action = Action::Deliver(side, usize::from(number / 7 % 600));
        }
        world.act(scope, action);
        world.halves.iter().for_each(|half| half.machine.check());
    }
    for turn in 0.. {
        let actions: Vec<Action> =
            world.actions(scope).into_iter().filter(|action| !action.is_extra()).collect();
        if actions.is_empty() {
            break;
        }
        assert!(turn < 1_000_000, "it goes on for ever: {actions:?}");
        let action = actions[turn % actions.len()];
        world.act(scope, action);
    }
    if !world.broken {
        world.check_rest();
    }
}

#[test]
fn every_program_ends_as_the_model_says() {
    let count = number("MSGPIPE_PROGRAMS").unwrap_or(300);
    let programs = || (scopes(), prop::collection::vec(any::<u16>(), 0..150));
    run_all("MSGPIPE_PROGRAMS", count, programs, |(scope, program)| run(&scope, &program));
}
