//! The `Caffe` framework: the program `caffe` with a solver's configuration, or a Python
//! script; started by `mpirun` where there are several processes.
//!
//! * [`settings`] — `caffeSettings`, its rules and defaults.

pub mod settings;

use lote_plugin_sdk::types::{Allocation, Issue, Job, LaunchPlan, PlanFailure};
use lote_plugin_sdk::{Descriptor, Framework};
use settings::Settings;

/// The plugin.
#[derive(Debug)]
pub struct Caffe;

impl Framework for Caffe {
    type Settings = Settings;

    fn describe() -> Descriptor {
        Descriptor {
            name: "caffe".to_owned(),
            settings_member: "caffeSettings".to_owned(),
            summary: "Trains a Caffe solver or runs a Python script, its ranks started by mpirun"
                .to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings_schema: include_str!("settings.schema.json").to_owned(),
            starts_peers: true,
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
        settings.program().under_mpirun_if_several(allocation)
    }
}

lote_plugin_sdk::register!(Caffe);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cases_give_the_expected_plans() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/cases");
        let count = lote_plugin_sdk::testkit::run::<Caffe>(folder);
        assert!(count.as_ref().is_ok_and(|&count| count >= 8), "{count:?}");
    }
}
