//! Small and large worlds.

use super::app::Plan;
use super::world::Scope;
use crate::exchange::machine::Config;
use crate::exchange::settings::Settings;

/// A message of one piece, of two, and of three; the last is announced.
pub const SMALL: usize = 3;
pub const MIDDLE: usize = 40;
pub const LARGE: usize = 72;

/// Windows of two middle messages for a call and little more for the connection, pieces of 24 bytes.
fn config() -> Config {
    let settings = Settings {
        body: 100,
        calls: 2,
        call_window: 208,
        connection_window: 250,
        name: String::new(),
        grease: None,
    };
    Config { assumed: settings.clone(), settings, opens: 3, queue: 50, piece: 24, piece_alone: 24 }
}

/// A world without disturbances.
fn quiet(client: Vec<Plan>, server: Vec<Plan>) -> Scope {
    Scope {
        plans: [client, server],
        notes: [vec![], vec![]],
        disturbances: 0,
        deadlines: false,
        drains: false,
        fills: false,
        breaks: false,
        in_flight: 2,
        config: config(),
    }
}

/// The small worlds, with the names that failures print.
pub fn small() -> Vec<(&'static str, Scope)> {
    let unary = Plan::unary;
    let stream =
        |request: &[usize], reply: &[usize]| Plan::streams(request.to_vec(), reply.to_vec());
    let with = |disturbances, scope: Scope| Scope { disturbances, ..scope };
    let mut scopes = vec![
        (
            "three calls",
            quiet(vec![unary(SMALL, SMALL), unary(MIDDLE, LARGE)], vec![unary(LARGE, SMALL)]),
        ),
        (
            "one call, disturbed twice",
            with(2, quiet(vec![stream(&[SMALL, MIDDLE], &[SMALL, SMALL])], vec![])),
        ),
        ("large ones, disturbed", with(1, quiet(vec![unary(LARGE, LARGE)], vec![]))),
        (
            "messages of two pieces, disturbed",
            with(1, quiet(vec![stream(&[MIDDLE, MIDDLE], &[MIDDLE])], vec![])),
        ),
        (
            "two calls, disturbed",
            with(1, quiet(vec![unary(SMALL, SMALL)], vec![stream(&[SMALL], &[SMALL, MIDDLE])])),
        ),
        (
            "streams that open and end bare, and an error",
            with(
                1,
                quiet(
                    vec![Plan {
                        bare: true,
                        bare_end: true,
                        fails: true,
                        ..stream(&[SMALL, SMALL], &[SMALL])
                    }],
                    vec![],
                ),
            ),
        ),
        (
            "notifications",
            Scope {
                notes: [vec![SMALL, LARGE], vec![MIDDLE]],
                ..with(1, quiet(vec![unary(SMALL, SMALL)], vec![]))
            },
        ),
    ];
    scopes.extend(with_more());
    scopes
}

/// Those in which more happens than calls: deadlines, a side that drains or has no memory, a break.
fn with_more() -> [(&'static str, Scope); 4] {
    let unary = Plan::unary;
    let stream =
        |request: &[usize], reply: &[usize]| Plan::streams(request.to_vec(), reply.to_vec());
    let late = |plan: Plan| Plan { deadline: true, ..plan };
    let with = |disturbances, scope: Scope| Scope { disturbances, ..scope };
    [
        (
            "deadlines",
            Scope {
                deadlines: true,
                ..with(
                    1,
                    quiet(vec![late(unary(MIDDLE, SMALL)), late(unary(SMALL, SMALL))], vec![]),
                )
            },
        ),
        (
            "drains",
            Scope {
                drains: true,
                ..quiet(vec![unary(SMALL, SMALL), stream(&[SMALL, SMALL], &[SMALL])], vec![])
            },
        ),
        (
            "no memory",
            Scope {
                fills: true,
                ..with(
                    2,
                    quiet(vec![unary(SMALL, SMALL), stream(&[MIDDLE, LARGE], &[SMALL])], vec![]),
                )
            },
        ),
        (
            "a break",
            Scope { breaks: true, ..quiet(vec![unary(MIDDLE, SMALL)], vec![unary(SMALL, SMALL)]) },
        ),
    ]
}

/// Larger ones, for the whole search.
pub fn whole() -> Vec<(&'static str, Scope)> {
    let unary = Plan::unary;
    let stream =
        |request: &[usize], reply: &[usize]| Plan::streams(request.to_vec(), reply.to_vec());
    let mut scopes = small();
    scopes.push((
        "two streams of three, disturbed",
        Scope {
            disturbances: 1,
            ..quiet(
                vec![stream(&[SMALL, MIDDLE, SMALL], &[SMALL])],
                vec![stream(&[SMALL], &[SMALL, LARGE])],
            )
        },
    ));
    scopes.push((
        "everything at once",
        Scope {
            disturbances: 1,
            deadlines: true,
            drains: true,
            notes: [vec![SMALL], vec![]],
            ..quiet(
                vec![Plan { deadline: true, ..unary(MIDDLE, MIDDLE) }, unary(SMALL, SMALL)],
                vec![],
            )
        },
    ));
    scopes
}
