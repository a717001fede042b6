//! What idle connections cost: the memory of the server for each, after one echo, and the time of a call beside all of them.

use crate::echo::{Echo, Ownership, Request, Side, calls};
use crate::report::{Report, Target, Unit, quantile};
use crate::server::{CONNECTIONS, ServerProcess};
use crate::setting::Setting;
use crate::{Failure, machine};
use std::time::Duration;

/// Connections that are opened before the first reading of the memory. That reading includes what a
/// server allocates once.
const BASELINE: usize = 16;

/// The time of the calls of one round.
const CALLS_TIME: Duration = Duration::from_millis(300);

/// Descriptors that a process uses for other purposes.
const RESERVED: u64 = 100;

pub fn run(setting: &Setting<'_>, report: &Report) -> Result<(), Failure> {
    let allowed = machine::allow_many_descriptors()?.saturating_sub(RESERVED);
    let connections = CONNECTIONS.min(usize::try_from(allowed)?);
    if connections < CONNECTIONS {
        println!("only {connections} connections: the limit of open descriptors allows no more");
    }
    let mut server = ServerProcess::start(Side::Msgpipe, setting.server_cpu)?;
    let requests = Request::several(1, 64);
    let mut open = Vec::with_capacity(connections);
    let (mut before, mut alone) = (server.memory()?, Vec::new());
    let rounds = setting.options.rounds;
    let median = |echo: &mut dyn Echo| -> Result<f64, Failure> {
        let mut times = calls(echo, &requests, Ownership::Owned, CALLS_TIME)?;
        times.sort_by(f64::total_cmp);
        Ok(quantile(&times, 0.5))
    };
    while open.len() < connections {
        let mut echo = Side::Msgpipe.connect(server.name())?;
        echo.call(&requests[0], Ownership::Owned)?;
        open.push(echo);
        if open.len() == BASELINE {
            alone = (0..rounds).map(|_| median(&mut *open[0])).collect::<Result<_, _>>()?;
            before = server.memory()?;
        }
    }
    let after = server.memory()?;
    let each = |before: f64, after: f64| (after - before) / (connections - BASELINE) as f64;
    let name = format!("idle connection, {connections} at once");
    let heap = each(before.heap, after.heap);
    let resident = each(before.resident, after.resident);
    report.bytes(&format!("{name}: heap"), heap, Target::AtMost(1024.0));
    if machine::resident().is_some() {
        report.bytes(&format!("{name}: resident"), resident, Target::AtMost(4096.0));
    }
    let beside = (0..rounds).map(|_| median(&mut *open[0])).collect::<Result<Vec<_>, _>>()?;
    // Both sides are msgpipe's.
    let name = format!("64 B call, by that beside {BASELINE} idle ones");
    let both = alone.into_iter().zip(beside).collect();
    report.ratio(&name, Unit::Nanoseconds, both, Some(Target::AtMost(1.10)));
    Ok(())
}
