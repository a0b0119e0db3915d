//! What other parts of this daemon know of the moment: samples of its node, and what the leader
//! sees if it is this one.

use std::fmt;
use std::sync::Arc;

use lote_model::id::JobUid;
use lote_model::leader::LeaderFigures;
use lote_model::sample::{JobSample, NodeSample};

/// Tells what a daemon measures. Answers come from memory and at once.
pub trait Telemetry: Send + Sync {
    /// What this node's GPUs did last; none if it does not measure.
    fn node(&self) -> Option<NodeSample>;

    /// What this node's part of a running job did, oldest first; none if it does not run here.
    fn job(&self, uid: &JobUid) -> Option<Vec<JobSample>>;

    /// What the leader saw last; none if another daemon leads.
    fn leader(&self) -> Option<LeaderFigures>;
}

/// Where the daemon's measurements come from; by default there are none.
#[derive(Clone, Default)]
pub struct TelemetrySource(Option<Arc<dyn Telemetry>>);

impl TelemetrySource {
    /// Measurements from here.
    pub fn new(source: Arc<dyn Telemetry>) -> Self {
        Self(Some(source))
    }

    pub(crate) fn node(&self) -> Option<NodeSample> {
        self.0.as_ref()?.node()
    }

    pub(crate) fn job(&self, uid: &JobUid) -> Option<Vec<JobSample>> {
        self.0.as_ref()?.job(uid)
    }

    pub(crate) fn leader(&self) -> Option<LeaderFigures> {
        self.0.as_ref()?.leader()
    }
}

impl fmt::Debug for TelemetrySource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.0.is_some() { "some" } else { "none" };
        formatter.write_str(name)
    }
}
