//! The measure of memory: how much memory of the server an idle connection uses, after one echo.

use crate::echo::{Ownership, Request, Side};
use crate::report::{Report, Target};
use crate::server::ServerProcess;
use crate::setting::Setting;
use crate::{Failure, machine};

/// Concurrent connections.
const CONNECTIONS: usize = 10_000;

/// Connections that are opened before the first reading of the memory. That reading includes what a
/// server allocates once.
const BASELINE: usize = 16;

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
    let mut before = server.memory()?;
    while open.len() < connections {
        let mut echo = Side::Msgpipe.connect(server.name())?;
        echo.call(&requests[0], Ownership::Owned)?;
        open.push(echo);
        if open.len() == BASELINE {
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
    Ok(())
}
