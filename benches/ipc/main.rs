//! The cost of msgpipe, as ratios to a bare floor: a minimal program that does the same work, measured in the
//! same run.
//!
//! ```text
//! cargo bench --bench ipc -- [--rounds N] [--seconds S]
//!                            [--only rtt,pipelined,fanin,fair,streams,publish,idle]
//!                            [--cpus two|one|any]
//! ```
//!
//! The floor is handwritten for this one purpose: on Unix a single-threaded mio loop that echoes frames with
//! a length of four bytes in front, on Windows a plain overlapped loop on a message-type pipe that does the
//! same. Its client is a blocking stream. Client and server are two processes (this program starts itself
//! again as the server), pinned to different CPUs for both sides of every comparison: placement alone is a
//! factor of two. Each round measures the floor, then msgpipe, for `--seconds` each. The ratio is computed
//! within the round; the printed figures are medians over the rounds. Absolute figures drift with the
//! machine; ratios do not.
//!
//! On Windows, `MSGPIPE_FLOOR=eager` in the environment makes the floor continue at once after an operation
//! that completes immediately, without waiting for a packet of the completion port. This is the fastest
//! floor. Under Wine, where each wait is a round trip to its server, it is a good deal faster than a plain
//! loop.
//!
//! `--cpus one` pins client and server to one CPU. The figures then show the work of both sides, with little
//! noise. With two CPUs, most of a round trip is the wake-up of a sleeping CPU.
//!
//! `fair` has no floor: it compares the time that each flood of requests adds to another client's call with
//! the time of such a call alone.
//!
//! `streams` and `publish` run the server on a thread of the same process, on the server's CPU. Their floor is a
//! thread that writes to blocking sockets.
//!
//! The program prints each ratio with its target. It is not a test: it does not fail if a target is missed.

mod echo;
mod fair;
mod frames;
mod idle;
mod machine;
mod measures;
mod options;
mod own_server;
mod publish;
mod report;
mod server;
mod setting;
mod streams;
#[cfg(unix)]
mod unix_floor;
#[cfg(windows)]
mod win32_floor;

use cap::Cap;
use options::{Mode, Options, Placement};
use report::Report;
use setting::Setting;
use std::alloc::System;
use std::process::ExitCode;
#[cfg(unix)]
use unix_floor as floor;
#[cfg(windows)]
use win32_floor as floor;

/// The system's allocator, with a count of the allocated bytes. The count costs one atomic addition for each
/// allocation. This favours the floor, which hardly allocates.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Any error: the benchmark ends and prints it.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let done = match Mode::from_arguments(std::env::args().skip(1)) {
        Ok(Mode::Serve(task)) => server::serve(&task),
        Ok(Mode::Measure(options)) => measure(&options),
        Ok(Mode::Nothing) => {
            println!("measures only as `cargo bench --bench ipc`");
            Ok(())
        }
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ipc: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), Failure> {
    let cpus = match (options.placement, machine::two_cpus()) {
        (Placement::Two, cpus) => cpus,
        (Placement::One, cpus) => cpus.map(|(first, _)| (first, first)),
        (Placement::Any, _) => None,
    };
    match cpus {
        Some((client, server)) => {
            machine::pin(client)?;
            println!("client on CPU {client}, server on CPU {server}");
        }
        None => println!("client and server on any CPU"),
    }
    if cpus.is_none() && options.placement != Placement::Any {
        println!("(there are no two CPUs to choose, or no way to keep to one)");
    }
    if cfg!(debug_assertions) {
        println!("built without optimisation: the figures mean nothing");
    }
    println!(
        "{} rounds of {} s for each side, interleaved; ratio = msgpipe / bare within a round\n",
        options.rounds,
        options.time.as_secs_f64()
    );
    let setting = Setting { options, server_cpu: cpus.map(|(_, server)| server) };
    let report = Report::begin(options.placement == Placement::Two);
    for measure in &options.only {
        measure.run(&setting, &report)?;
    }
    Ok(())
}
