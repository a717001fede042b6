//! What all measures share: their setting, and rounds that measure both sides in turn.

use crate::Failure;
use crate::echo::Side;
use crate::options::Options;
use crate::server::ServerProcess;

/// The setting of the measures.
pub struct Setting<'a> {
    pub options: &'a Options,
    pub server_cpu: Option<usize>,
}

impl Setting<'_> {
    /// Measures both sides in turn, each with a fresh server process in each round.
    pub fn rounds<T>(
        &self,
        measure: impl Fn(Side, &str) -> Result<T, Failure>,
    ) -> Result<Vec<(T, T)>, Failure> {
        let one = |side| {
            let server = ServerProcess::start(side, self.server_cpu)?;
            measure(side, server.name())
        };
        (0..self.options.rounds).map(|_| Ok((one(Side::Bare)?, one(Side::Msgpipe)?))).collect()
    }
}
