//! The `CNTK` framework: a `BrainScript` configuration, run by the program `cntk`, or a
//! Python script; started by `mpirun` where there are several processes.
//!
//! * [`settings`] — `cntkSettings`, its rules and defaults.

pub mod settings;

use lote_plugin_sdk::types::{Allocation, Issue, Job, LaunchPlan, PlanFailure};
use lote_plugin_sdk::{Descriptor, Framework};
use settings::Settings;

/// The plugin.
#[derive(Debug)]
pub struct Cntk;

impl Framework for Cntk {
    type Settings = Settings;

    fn describe() -> Descriptor {
        Descriptor {
            name: "cntk".to_owned(),
            settings_member: "cntkSettings".to_owned(),
            summary: "Runs a CNTK configuration or Python script, its ranks started by mpirun"
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

lote_plugin_sdk::register!(Cntk);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cases_give_the_expected_plans() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/cases");
        let count = lote_plugin_sdk::testkit::run::<Cntk>(folder);
        assert!(count.as_ref().is_ok_and(|&count| count >= 8), "{count:?}");
    }
}
