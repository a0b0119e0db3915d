//! The custom framework: one command line of the user's own, on the first node.
//!
//! The job's other nodes are prepared and wait, so that the command can start a
//! launcher of its own over the hosts in `AZ_BATCHAI_MPI_HOST_FILE`.

use lote_plugin_sdk::hosts::{add_host_file, empty_plan};
use lote_plugin_sdk::types::{
    Allocation, Command, GpuShare, Issue, Job, LaunchPlan, Node, OnFailure, Part, PlanFailure,
    Process,
};
use lote_plugin_sdk::{Descriptor, Framework, issues};
use serde::{Deserialize, Serialize};

/// `customToolkitSettings` of the API.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Shell text, run on the first node.
    #[serde(skip_serializing_if = "Option::is_none")]
    command_line: Option<String>,
}

/// The plugin.
#[derive(Debug)]
pub struct Custom;

impl Framework for Custom {
    type Settings = Settings;

    fn describe() -> Descriptor {
        Descriptor {
            name: "custom".to_owned(),
            settings_member: "customToolkitSettings".to_owned(),
            summary: "Runs a command line on the first node of the job".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings_schema: include_str!("settings.schema.json").to_owned(),
            starts_peers: false,
        }
    }

    fn complete(settings: Settings, _job: &Job) -> Result<Settings, Vec<Issue>> {
        let missing = issues::required(
            "commandLine",
            settings.command_line.as_deref(),
            "give the command to run on the first node, such as `python3 train.py`",
        );
        match missing {
            Some(issue) => Err(vec![issue]),
            None => Ok(settings),
        }
    }

    fn plan(
        settings: &Settings,
        _job: &Job,
        allocation: &Allocation,
    ) -> Result<LaunchPlan, PlanFailure> {
        let mut plan = empty_plan();
        add_host_file(&mut plan, allocation, slots);
        plan.processes.push(Process {
            name: "main".to_owned(),
            node: 0,
            command: Command::Shell(settings.command_line.clone().unwrap_or_default()),
            variables: vec![],
            working_directory: None,
            output: None,
            gpus: GpuShare::All,
            part: Part::Primary,
            on_failure: OnFailure::FailJob,
            stage: 0,
        });
        Ok(plan)
    }
}

/// One process per GPU is what a launcher should start by default.
fn slots(node: &Node) -> u32 {
    u32::try_from(node.gpus.len()).unwrap_or(u32::MAX).max(1)
}

lote_plugin_sdk::register!(Custom);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cases_give_the_expected_plans() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/cases");
        let count = lote_plugin_sdk::testkit::run::<Custom>(folder);
        assert!(count.as_ref().is_ok_and(|&count| count >= 4), "{count:?}");
    }
}
