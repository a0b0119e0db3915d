//! The framework plugin {{name}}.
//!
//! It starts one command several times on each node and tells every process its place, in
//! the variables that PyTorch and many others read. Change it into your framework:
//! `complete` checks what users ask for, `plan` says what runs where. Both depend on their
//! arguments only; there is no file, no network and no clock in here.

use lote_plugin_sdk::hosts::{empty_plan, variable};
use lote_plugin_sdk::types::{
    Allocation, Command, GpuShare, Issue, Job, LaunchPlan, Node, OnFailure, Part, PlanFailure,
    Process,
};
use lote_plugin_sdk::{Descriptor, Framework, issues};
use serde::{Deserialize, Serialize};

const PROCESSES_MAX: u32 = 64;

/// The settings of a job. What a user may leave out is an `Option`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    #[serde(skip_serializing_if = "Option::is_none")]
    command_line: Option<String>,
    processes_per_node: Option<u32>,
}

/// The plugin.
#[derive(Debug)]
pub struct Plugin;

impl Framework for Plugin {
    type Settings = Settings;

    fn describe() -> Descriptor {
        Descriptor {
            name: "{{name}}".to_owned(),
            // No member of its own: jobs choose it by name, in `pluginSettings`.
            settings_member: "pluginSettings".to_owned(),
            summary: "Runs a command in several processes on every node".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings_schema: include_str!("settings.schema.json").to_owned(),
            starts_peers: false,
        }
    }

    fn complete(settings: Settings, _job: &Job) -> Result<Settings, Vec<Issue>> {
        let count = settings.processes_per_node.unwrap_or(1);
        let mut found = Vec::new();
        found.extend(issues::required(
            "commandLine",
            settings.command_line.as_deref(),
            "give the command that every process runs, such as `python3 train.py`",
        ));
        if !(1..=PROCESSES_MAX).contains(&count) {
            found.push(issues::issue(
                "/processesPerNode",
                format!("processesPerNode must be a whole number from 1 to {PROCESSES_MAX}"),
            ));
        }
        if !found.is_empty() {
            return Err(found);
        }
        Ok(Settings {
            processes_per_node: Some(count),
            ..settings
        })
    }

    fn plan(
        settings: &Settings,
        _job: &Job,
        allocation: &Allocation,
    ) -> Result<LaunchPlan, PlanFailure> {
        let per_node = settings.processes_per_node.unwrap_or(1);
        let command = settings.command_line.clone().unwrap_or_default();
        let mut plan = empty_plan();
        for node in &allocation.nodes {
            let places = 0..per_node;
            plan.processes
                .extend(places.map(|local| process(&command, node, per_node, local)));
        }
        let first = &allocation.nodes[0];
        plan.variables = vec![
            variable("WORLD_SIZE", &plan.processes.len()),
            variable("MASTER_ADDR", &first.address),
            variable("MASTER_PORT", &first.ports[0]),
        ];
        Ok(plan)
    }
}

fn process(command: &str, node: &Node, per_node: u32, local: u32) -> Process {
    let rank = node.rank * per_node + local;
    Process {
        name: format!("rank-{rank}"),
        node: node.rank,
        command: Command::Shell(command.to_owned()),
        variables: vec![variable("RANK", &rank), variable("LOCAL_RANK", &local)],
        working_directory: None,
        output: Some(rank.to_string()),
        gpus: GpuShare::All,
        part: Part::Primary,
        on_failure: OnFailure::FailJob,
        stage: 0,
    }
}

lote_plugin_sdk::register!(Plugin);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cases_give_the_expected_plans() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/cases");
        let count = lote_plugin_sdk::testkit::run::<Plugin>(folder);
        assert!(count.as_ref().is_ok_and(|&count| count >= 3), "{count:?}");
    }
}
