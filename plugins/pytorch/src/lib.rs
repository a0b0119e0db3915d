//! The `PyTorch` framework: one Python process per rank, started directly on the
//! nodes, with everything `torch.distributed` looks for in its environment. With the MPI
//! backend `mpirun` starts them.
//!
//! * [`settings`] — `pyTorchSettings`, its rules and defaults.
//! * [`plan`] — ranks, rendezvous and commands.

pub mod plan;
pub mod settings;

use lote_plugin_sdk::types::{Allocation, Issue, Job, LaunchPlan, PlanFailure};
use lote_plugin_sdk::{Descriptor, Framework};
use settings::Settings;

/// The plugin.
#[derive(Debug)]
pub struct PyTorch;

impl Framework for PyTorch {
    type Settings = Settings;

    fn describe() -> Descriptor {
        Descriptor {
            name: "pytorch".to_owned(),
            settings_member: "pyTorchSettings".to_owned(),
            summary: "Runs a PyTorch script as one process per rank over the job's nodes"
                .to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings_schema: include_str!("settings.schema.json").to_owned(),
            starts_peers: false,
        }
    }

    fn complete(settings: Settings, job: &Job) -> Result<Settings, Vec<Issue>> {
        settings.complete(job.node_count)
    }

    fn plan(
        settings: &Settings,
        _job: &Job,
        allocation: &Allocation,
    ) -> Result<LaunchPlan, PlanFailure> {
        plan::plan(settings, allocation)
    }
}

lote_plugin_sdk::register!(PyTorch);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cases_give_the_expected_plans() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/cases");
        let count = lote_plugin_sdk::testkit::run::<PyTorch>(folder);
        assert!(count.as_ref().is_ok_and(|&count| count >= 8), "{count:?}");
    }
}
