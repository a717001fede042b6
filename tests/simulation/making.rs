//! Makes a program from its number.

use super::chance::Chance;
use super::plan::{
    Actor, Ask, End, How, Kind, Plan, Program, Reply, Room, Step, Taking, Weather, largest,
};
use std::time::Duration;

const MILLI: Duration = Duration::from_millis(1);
const TIMES: [Duration; 8] = [
    Duration::ZERO,
    Duration::from_micros(30),
    MILLI,
    Duration::from_millis(20),
    Duration::from_millis(150),
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(40),
];

/// Of so many programs with little memory and slow handlers one is a crowd.
const CROWDS: usize = 4;

/// What is known of the server when a step is made.
struct Server {
    how: How,
    room: Room,
    is_calm: bool,
    has_pieces: bool,
}

impl Program {
    pub fn new(seed: u64) -> Program {
        let c = &mut Chance(seed ^ 0x5EED_0000_0000);
        let is_calm = c.once_in(3);
        let weather = match is_calm {
            true => Weather::default(),
            false => Weather {
                resets: c.of(&[0, 0, 20, 200]),
                stalls: c.of(&[0, 0, 20, 200]),
                refusals: c.of(&[0, 0, 1000]),
                pieces: 0,
                is_busy: c.once_in(4),
            },
        };
        let weather = Weather { pieces: c.of(&[0, 0, 3000]), ..weather };
        let how = c.of(&[How::Tasks, How::Tasks, How::DropCancelled, How::AtOnce]);
        let room = c.of(&[Room::Enough, Room::Enough, Room::Tight, Room::Memory]);
        if room == Room::Memory && how != How::AtOnce && c.once_in(CROWDS) {
            return crowd(seed, c, weather, how);
        }
        let in_flight = c.of(&[1, 2, 4, 4]);
        let plan = |c: &mut Chance| Plan { again: c.once_in(2), listens: c.once_in(2) };
        let clients: Vec<Plan> = (0..1 + c.below(3)).map(|_| plan(c)).collect();
        let count = 1 + c.below(24);
        let server = Server { how, room, is_calm, has_pieces: weather.pieces > 0 };
        let mut steps = Vec::new();
        for number in 0..count {
            let is_nature = c.once_in(4);
            let client = c.below(clients.len());
            steps.push(match is_nature {
                true => (Actor::Nature, nature(c, clients.len(), is_calm)),
                false => (Actor::Client(client), of_client(c, number, &server)),
            });
        }
        let when_full = c.below(3) as u8;
        Program { seed, weather, how, room, in_flight, when_full, clients, steps }
    }
}

/// Requests whose replies are in parts, and that hold the memory which these need.
fn crowd(seed: u64, c: &mut Chance, weather: Weather, how: How) -> Program {
    let most = largest(Room::Memory);
    let large = |c: &mut Chance| most - c.below(most / 2);
    let clients: Vec<Plan> = vec![Plan::default(); 2 + c.below(2)];
    let ask = |c: &mut Chance, number| {
        let parts = (0..1 + c.below(4)).map(|_| large(c)).collect();
        let reply = Reply::Parts(parts, c.of(&TIMES[..4]), End::Finish);
        let (kind, taking, request) = (Kind::Stream, Taking::Wait, vec![large(c)]);
        let (takes, deadline, idempotent, finishes) = (None, None, false, true);
        let beside = !c.once_in(3);
        Ask { number, kind, request, finishes, takes, reply, taking, deadline, beside, idempotent }
    };
    let steps = (0..3 + c.below(6)).map(|number| {
        let client = Actor::Client(c.below(clients.len()));
        (client, Step::Ask(ask(c, number)))
    });
    let (steps, room) = (steps.collect(), Room::Memory);
    Program { seed, weather, how, room, in_flight: 4, when_full: 0, clients, steps }
}

fn size(c: &mut Chance, server: &Server) -> usize {
    let most = match c.below(16) {
        0..3 => 1,
        3..10 => 300,
        10..13 => 20_000,
        // Large ones in small pieces take long.
        _ if server.has_pieces => 70_000,
        13..15 => 100_000,
        _ => 700_000,
    };
    c.below(most).min(largest(server.room))
}

fn sizes(c: &mut Chance, server: &Server, most: usize) -> Vec<usize> {
    (0..c.below(most + 1)).map(|_| size(c, server)).collect()
}

fn nature(c: &mut Chance, clients: usize, is_calm: bool) -> Step {
    let client = c.below(clients);
    let hours = [MILLI, Duration::from_secs(1), Duration::from_secs(40), Duration::from_secs(7200)];
    match c.below(if is_calm { 6 } else { 14 }) {
        0 | 1 => Step::Pass(c.of(&TIMES)),
        2 => Step::Publish { count: 1 + c.below(20) as u32, size: c.below(40_000) },
        3 => Step::Publish { count: 1 + c.below(5) as u32, size: c.below(100) },
        4 => Step::Tell { count: 1 + c.below(12) as u32, size: c.below(3000) },
        5 => Step::CallClients { size: c.below(2000), time: c.of(&TIMES) },
        6 | 7 => Step::Cut(client),
        8 | 9 => Step::Stall(client, c.of(&TIMES)),
        10 => Step::Jump(c.of(&hours)),
        11 => Step::Stop(c.of(&TIMES)),
        12 => Step::Kill(c.of(&TIMES)),
        _ => Step::CloseClients,
    }
}

fn of_client(c: &mut Chance, number: usize, server: &Server) -> Step {
    match c.below(if server.is_calm { 18 } else { 20 }) {
        0 | 1 => Step::Pass(c.of(&TIMES)),
        2 | 3 => Step::Notify { count: 1 + c.below(12) as u32, size: c.below(2000) },
        4 | 5 => Step::Subscribe,
        18 => Step::Close,
        19 => Step::Die,
        _ => Step::Ask(ask(c, number, server)),
    }
}

fn ask(c: &mut Chance, number: usize, server: &Server) -> Ask {
    use Kind::*;
    let kind = c.of(&[Unary, Unary, Unary, Unary, Stream, Stream, Upload, Duplex]);
    let mut request = sizes(c, server, 4);
    request.push(size(c, server));
    let reply = match c.below(20) {
        0..5 => Reply::Body(size(c, server)),
        5..7 => Reply::Slow(c.of(&TIMES), size(c, server)),
        7..9 => Reply::Later(c.of(&TIMES), size(c, server)),
        9 => Reply::Error,
        10 => Reply::Panic,
        11 => Reply::Nothing,
        12..16 => {
            let end = c.of(&[End::Finish, End::Finish, End::Fail, End::GiveUp]);
            Reply::Parts(sizes(c, server, 5), c.of(&TIMES[..5]), end)
        }
        16 | 17 => Reply::Hold,
        18 => Reply::CallBack(size(c, server)),
        _ if server.is_calm => Reply::Body(1),
        _ => Reply::Close,
    };
    let taking = match c.below(10) {
        0..6 => Taking::Wait,
        6 | 7 => Taking::Within(c.of(&TIMES[..6])),
        8 => c.of(&[Taking::Cancel, Taking::Detach]),
        _ => Taking::Some(c.below(4)),
    };
    let deadline = if c.once_in(3) { Some(c.of(&TIMES)) } else { None };
    let takes = if c.once_in(3) { Some(c.below(4)) } else { None };
    let (finishes, beside, idempotent) = (!c.once_in(5), c.once_in(2), c.once_in(2));
    let mut ask =
        Ask { number, kind, request, finishes, takes, reply, taking, deadline, beside, idempotent };
    ask.fit(server.how);
    ask
}
