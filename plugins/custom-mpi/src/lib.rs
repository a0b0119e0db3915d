//! The `custommpi` framework: a command line that `mpirun` starts as every rank.

use lote_mpi::Program;
use lote_plugin_sdk::issues::{none_of, process_count, required};
use lote_plugin_sdk::types::{Allocation, Issue, Job, LaunchPlan, PlanFailure};
use lote_plugin_sdk::{Descriptor, Framework};
use serde::{Deserialize, Serialize};

/// `customMpiSettings` of the API.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Shell text, run by every rank, without `mpirun`. Present once complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    command_line: Option<String>,
    /// How many ranks. Present once complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    process_count: Option<u32>,
}

/// The plugin.
#[derive(Debug)]
pub struct CustomMpi;

impl Framework for CustomMpi {
    type Settings = Settings;

    fn describe() -> Descriptor {
        Descriptor {
            name: "custommpi".to_owned(),
            settings_member: "customMpiSettings".to_owned(),
            summary: "Runs a command line as the ranks of an MPI job over its nodes".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings_schema: include_str!("settings.schema.json").to_owned(),
            starts_peers: true,
        }
    }

    fn complete(mut settings: Settings, job: &Job) -> Result<Settings, Vec<Issue>> {
        let processes = *settings.process_count.get_or_insert(job.node_count);
        let command = required(
            "commandLine",
            settings.command_line.as_deref(),
            "give the program that every rank runs, without mpirun, such as `$AZ_BATCHAI_INPUT_CODE/solver`",
        );
        none_of(
            [command, process_count(processes, job.node_count)],
            settings,
        )
    }

    fn plan(
        settings: &Settings,
        _job: &Job,
        allocation: &Allocation,
    ) -> Result<LaunchPlan, PlanFailure> {
        let program = Program {
            line: settings.command_line.clone().unwrap_or_default(),
            processes: settings.process_count.unwrap_or(1),
        };
        program.under_mpirun(allocation)
    }
}

lote_plugin_sdk::register!(CustomMpi);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cases_give_the_expected_plans() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/cases");
        let count = lote_plugin_sdk::testkit::run::<CustomMpi>(folder);
        assert!(count.as_ref().is_ok_and(|&count| count >= 6), "{count:?}");
    }
}
