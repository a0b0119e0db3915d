//! What the node and its jobs do, for whoever asks.

use std::sync::Arc;

use lote_model::id::JobUid;
use lote_model::sample::{JobSample, NodeSample};

use super::Gpus;

/// The latest samples of a node. Cheap to clone; asking waits for nothing.
#[derive(Clone, Debug)]
pub struct Telemetry(Arc<Gpus>);

impl Telemetry {
    pub(super) fn new(gpus: Arc<Gpus>) -> Self {
        Self(gpus)
    }

    /// What the GPUs did in the last second. None if there are none, or their driver does not
    /// answer.
    pub fn node_sample(&self) -> Option<Arc<NodeSample>> {
        self.0.book().node_sample()
    }

    /// What this node's part of a running job did in the last hour, the oldest first: every
    /// second of the last minutes, and fewer before. None if it does not run here.
    pub fn job_series(&self, job: &JobUid) -> Option<Vec<JobSample>> {
        self.0.book().series(job)
    }
}
