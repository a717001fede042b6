//! The command line: of the benchmark, and of the server process that it starts from the same program.

use crate::Failure;
use crate::server::Task;
use std::time::Duration;

/// The default rounds, and seconds for each side in a round: all measures together take about a minute.
const ROUNDS: usize = 7;
const SECONDS: f64 = 0.6;

const USAGE: &str = "usage: cargo bench --bench ipc -- \
    [--rounds N] [--seconds S] [--only rtt,pipelined,fanin,fair,streams,publish,idle] [--cpus two|one|any]";

/// The task of this process.
pub enum Mode {
    Measure(Options),
    /// The program was started by `cargo test` or by hand, not by `cargo bench`.
    Nothing,
    Serve(Task),
}

/// The measures.
#[derive(Clone, Copy)]
pub enum Measure {
    RoundTrip,
    Pipelined,
    FanIn,
    Fair,
    Streams,
    Publish,
    Idle,
}

impl Measure {
    pub const ALL: [Measure; 7] = [
        Measure::RoundTrip,
        Measure::Pipelined,
        Measure::FanIn,
        Measure::Fair,
        Measure::Streams,
        Measure::Publish,
        Measure::Idle,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Measure::RoundTrip => "rtt",
            Measure::Pipelined => "pipelined",
            Measure::FanIn => "fanin",
            Measure::Fair => "fair",
            Measure::Streams => "streams",
            Measure::Publish => "publish",
            Measure::Idle => "idle",
        }
    }
}

/// The options of the benchmark.
pub struct Options {
    pub rounds: usize,
    /// The time for each side of each measure in each round.
    pub time: Duration,
    pub only: Vec<Measure>,
    pub placement: Placement,
}

/// Where client and server run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Each on its own CPU: the targets apply to this placement.
    Two,
    /// Both on one CPU. It shows the work of both sides; `Two` shows mostly the cost of wake-ups.
    One,
    /// On any CPU that the system chooses.
    Any,
}

impl Mode {
    pub fn from_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Mode, Failure> {
        let mut is_bench = false;
        let mut options = Options {
            rounds: ROUNDS,
            time: Duration::from_secs_f64(SECONDS),
            only: Measure::ALL.to_vec(),
            placement: Placement::Two,
        };
        while let Some(argument) = arguments.next() {
            if argument == Task::ARGUMENT {
                return Ok(Mode::Serve(Task::from_arguments(arguments)?));
            }
            if argument == "--bench" {
                // Cargo passes it to every benchmark.
                is_bench = true;
                continue;
            }
            let value = arguments.next().ok_or(USAGE)?;
            match argument.as_str() {
                "--rounds" => options.rounds = value.parse::<usize>()?.max(1),
                "--seconds" => options.time = Duration::try_from_secs_f64(value.parse()?)?,
                "--cpus" => options.placement = placement(&value)?,
                "--only" => options.only = measures(&value)?,
                _ => return Err(USAGE.into()),
            }
        }
        Ok(if is_bench { Mode::Measure(options) } else { Mode::Nothing })
    }
}

fn measures(names: &str) -> Result<Vec<Measure>, Failure> {
    let known = || Measure::ALL.map(Measure::name).join(", ");
    let find = |name: &str| {
        let measure = Measure::ALL.into_iter().find(|measure| measure.name() == name);
        measure.ok_or_else(|| format!("no measure {name}: there are {}", known()).into())
    };
    names.split(',').map(find).collect()
}

fn placement(name: &str) -> Result<Placement, Failure> {
    match name {
        "two" => Ok(Placement::Two),
        "one" => Ok(Placement::One),
        "any" => Ok(Placement::Any),
        _ => Err(USAGE.into()),
    }
}
