//! The `TensorFlow` framework: a master, workers and parameter servers, each a process
//! that knows all others by its environment.
//!
//! * [`settings`] — `tensorFlowSettings`, its rules and defaults.
//! * [`cluster`] — which task is on which node and port.
//! * [`tf_config`] — `TF_CONFIG`, in the form that the job asks for.
//! * [`plan`] — processes, GPUs and commands.

pub mod cluster;
pub mod plan;
pub mod settings;
pub mod tf_config;

use lote_plugin_sdk::types::{Allocation, Issue, Job, LaunchPlan, PlanFailure};
use lote_plugin_sdk::{Descriptor, Framework};
use settings::Settings;

/// The plugin.
#[derive(Debug)]
pub struct TensorFlow;

impl Framework for TensorFlow {
    type Settings = Settings;

    fn describe() -> Descriptor {
        Descriptor {
            name: "tensorflow".to_owned(),
            settings_member: "tensorFlowSettings".to_owned(),
            summary: "Runs a TensorFlow script as master, workers and parameter servers".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings_schema: include_str!("settings.schema.json").to_owned(),
            starts_peers: false,
        }
    }

    fn complete(settings: Settings, job: &Job) -> Result<Settings, Vec<Issue>> {
        let form = tf_config::Form::of(&job.variables).map(drop);
        match (settings.complete(job.node_count), form) {
            (Ok(settings), Ok(())) => Ok(settings),
            (Ok(_), Err(issue)) => Err(vec![issue]),
            (Err(issues), form) => Err(issues.into_iter().chain(form.err()).collect()),
        }
    }

    fn plan(
        settings: &Settings,
        job: &Job,
        allocation: &Allocation,
    ) -> Result<LaunchPlan, PlanFailure> {
        let form = tf_config::Form::of(&job.variables);
        let form = form.map_err(|issue| PlanFailure::Invalid(vec![issue]))?;
        plan::plan(settings, form, allocation)
    }
}

lote_plugin_sdk::register!(TensorFlow);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cases_give_the_expected_plans() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/cases");
        let count = lote_plugin_sdk::testkit::run::<TensorFlow>(folder);
        assert!(count.as_ref().is_ok_and(|&count| count >= 12), "{count:?}");
    }
}
