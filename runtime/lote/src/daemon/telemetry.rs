//! What this daemon's parts know of the moment, for its HTTP interface.

use std::sync::OnceLock;

use lote_api::Telemetry;
use lote_control::driver::FiguresBoard;
use lote_model::id::JobUid;
use lote_model::leader::LeaderFigures;
use lote_model::sample::{JobSample, NodeSample};

/// The parts that measure. The interface is there before the node's part.
#[derive(Debug, Default)]
pub(super) struct DaemonTelemetry {
    /// Where its leader shows what it sees.
    pub(super) figures: FiguresBoard,
    /// What its node measures, once that has started.
    pub(super) node: OnceLock<lote_node::gpu::Telemetry>,
}

impl Telemetry for DaemonTelemetry {
    fn node(&self) -> Option<NodeSample> {
        let sample = self.node.get()?.node_sample()?;
        Some((*sample).clone())
    }

    fn job(&self, uid: &JobUid) -> Option<Vec<JobSample>> {
        self.node.get()?.job_series(uid)
    }

    fn leader(&self) -> Option<LeaderFigures> {
        self.figures.latest()
    }
}
