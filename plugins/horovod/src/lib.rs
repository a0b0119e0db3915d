//! The `Horovod` framework: a Python script whose ranks `mpirun` starts. Its settings and
//! its plan are those of [`lote_mpi`].

use lote_mpi::settings::PythonSettings;
use lote_plugin_sdk::types::{Allocation, Issue, Job, LaunchPlan, PlanFailure};
use lote_plugin_sdk::{Descriptor, Framework};

/// The plugin.
#[derive(Debug)]
pub struct Horovod;

impl Framework for Horovod {
    type Settings = PythonSettings;

    fn describe() -> Descriptor {
        Descriptor {
            name: "horovod".to_owned(),
            settings_member: "horovodSettings".to_owned(),
            summary: "Runs a Python script with Horovod, its ranks started by mpirun over the job's nodes"
                .to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings_schema: include_str!("settings.schema.json").to_owned(),
            starts_peers: true,
        }
    }

    fn complete(settings: PythonSettings, job: &Job) -> Result<PythonSettings, Vec<Issue>> {
        settings.complete(job.node_count)
    }

    fn plan(
        settings: &PythonSettings,
        _job: &Job,
        allocation: &Allocation,
    ) -> Result<LaunchPlan, PlanFailure> {
        settings.program().under_mpirun(allocation)
    }
}

lote_plugin_sdk::register!(Horovod);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cases_give_the_expected_plans() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/cases");
        let count = lote_plugin_sdk::testkit::run::<Horovod>(folder);
        assert!(count.as_ref().is_ok_and(|&count| count >= 6), "{count:?}");
    }
}
