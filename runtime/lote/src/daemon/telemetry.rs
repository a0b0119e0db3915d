//! What this daemon's parts know of the moment, for its HTTP interface.

use lote_api::Telemetry;
use lote_control::driver::FiguresBoard;
use lote_model::id::JobUid;
use lote_model::leader::LeaderFigures;
use lote_model::sample::{JobSample, NodeSample};

/// The parts that measure. The interface is there before them.
#[derive(Debug, Default)]
pub(super) struct DaemonTelemetry {
    /// Where its leader shows what it sees.
    pub(super) figures: FiguresBoard,
}

impl Telemetry for DaemonTelemetry {
    fn node(&self) -> Option<NodeSample> {
        None
    }

    fn job(&self, _uid: &JobUid) -> Option<Vec<JobSample>> {
        None
    }

    fn leader(&self) -> Option<LeaderFigures> {
        self.figures.latest()
    }
}
