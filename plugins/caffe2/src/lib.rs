//! The `Caffe2` framework: one Python process per node, each with the number of its
//! shard. They meet in a file store on the folder that the job's nodes share.

use lote_plugin_sdk::hosts::{add_host_file, empty_plan, variable};
use lote_plugin_sdk::issues::{none_of, required, unsuitable};
use lote_plugin_sdk::ranks::count;
use lote_plugin_sdk::types::{
    Allocation, Command, GpuShare, Issue, Job, LaunchPlan, OnFailure, Part, PlanFailure, Process,
};
use lote_plugin_sdk::{Descriptor, Framework, python};
use serde::{Deserialize, Serialize};

/// `caffe2Settings` of the API.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Shell text of the script's path. Present once complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    python_script_file_path: Option<String>,
    /// Shell text of the interpreter's path.
    #[serde(skip_serializing_if = "Option::is_none")]
    python_interpreter_path: Option<String>,
    /// Shell text of the script's arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    command_line_args: Option<String>,
}

/// The plugin.
#[derive(Debug)]
pub struct Caffe2;

impl Framework for Caffe2 {
    type Settings = Settings;

    fn describe() -> Descriptor {
        Descriptor {
            name: "caffe2".to_owned(),
            settings_member: "caffe2Settings".to_owned(),
            summary: "Runs a Caffe2 script as one process per node, each with its shard's number"
                .to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings_schema: include_str!("settings.schema.json").to_owned(),
            starts_peers: false,
        }
    }

    fn complete(settings: Settings, _job: &Job) -> Result<Settings, Vec<Issue>> {
        let script = required(
            "pythonScriptFilePath",
            settings.python_script_file_path.as_deref(),
            "give the path of the script, such as `$AZ_BATCHAI_INPUT_CODE/train.py`",
        );
        none_of([script], settings)
    }

    fn plan(
        settings: &Settings,
        _job: &Job,
        allocation: &Allocation,
    ) -> Result<LaunchPlan, PlanFailure> {
        let nodes = count(allocation.nodes.len());
        if nodes == 0 {
            return Err(unsuitable("the allocation has no nodes"));
        }
        if nodes > 1 && allocation.shared_scratch.is_none() {
            return Err(unsuitable(format!(
                "Caffe2's processes meet in files below AZ_BATCHAI_SHARED_JOB_TEMP, and these {nodes} nodes share no folder"
            )));
        }
        let line = python::line(
            settings.python_interpreter_path.as_deref(),
            settings.python_script_file_path.as_deref(),
            settings.command_line_args.as_deref(),
        );
        let mut plan = empty_plan();
        add_host_file(&mut plan, allocation, |_| 1);
        plan.processes = (0..nodes).map(|shard| process(shard, &line)).collect();
        Ok(plan)
    }
}

fn process(shard: u32, line: &str) -> Process {
    Process {
        name: format!("shard-{shard}"),
        node: shard,
        command: Command::Shell(line.to_owned()),
        variables: vec![variable("AZ_BATCHAI_TASK_INDEX", &shard)],
        working_directory: None,
        output: Some(shard.to_string()),
        gpus: GpuShare::All,
        part: Part::Primary,
        on_failure: OnFailure::FailJob,
        stage: 0,
    }
}

lote_plugin_sdk::register!(Caffe2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cases_give_the_expected_plans() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/cases");
        let count = lote_plugin_sdk::testkit::run::<Caffe2>(folder);
        assert!(count.as_ref().is_ok_and(|&count| count >= 6), "{count:?}");
    }
}
