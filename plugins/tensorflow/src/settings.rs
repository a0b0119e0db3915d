//! `tensorFlowSettings`, its rules and defaults.

use lote_plugin_sdk::issues::{issue_with_hint, none_of, required};
use lote_plugin_sdk::types::Issue;
use serde::{Deserialize, Serialize};

/// As many as a node has ports for its tasks at most, whatever the operator leases.
const MAX_WORKERS_PER_NODE: u32 = 1_024;

/// `tensorFlowSettings` of the API. What the user left out stays out of the answer, except
/// the counts of a distributed job.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Shell text of the script's path. Present once complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python_script_file_path: Option<String>,
    /// Shell text of the interpreter's path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python_interpreter_path: Option<String>,
    /// Shell text of the arguments of worker 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master_command_line_args: Option<String>,
    /// Shell text of the arguments of the other workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_command_line_args: Option<String>,
    /// Shell text of the arguments of the parameter servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter_server_command_line_args: Option<String>,
    /// How many workers, the master among them. Present in a complete distributed job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_count: Option<u32>,
    /// How many parameter servers. Present in a complete distributed job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter_server_count: Option<u32>,
}

impl Settings {
    /// Checks the settings of a job of this many nodes and writes defaults in. Whether
    /// the nodes have a GPU for every worker is known only when the job has them.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn complete(mut self, node_count: u32) -> Result<Self, Vec<Issue>> {
        if self.is_distributed(node_count) {
            self.worker_count.get_or_insert(node_count);
            self.parameter_server_count.get_or_insert(1);
        }
        let script = required(
            "pythonScriptFilePath",
            self.python_script_file_path.as_deref(),
            "give the path of the script, such as `$AZ_BATCHAI_INPUT_CODE/train.py`",
        );
        let issues = [
            script,
            check_workers(self.workers(), node_count),
            check_parameter_servers(self.parameter_servers(), node_count),
        ];
        none_of(issues, self)
    }

    /// How many workers, the master among them.
    pub fn workers(&self) -> u32 {
        self.worker_count.unwrap_or(1)
    }

    /// How many parameter servers.
    pub fn parameter_servers(&self) -> u32 {
        self.parameter_server_count.unwrap_or(0)
    }

    /// Whether there are parameter servers and other workers by default.
    fn is_distributed(&self, node_count: u32) -> bool {
        node_count > 1
            || self.workers() > 1
            || self.parameter_servers() > 0
            || self.parameter_server_command_line_args.is_some()
    }
}

fn check_workers(count: u32, node_count: u32) -> Option<Issue> {
    let max = node_count.saturating_mul(MAX_WORKERS_PER_NODE);
    let message = format!("workerCount is {count}, it must be 1 to {max} on {node_count} nodes");
    (!(1..=max).contains(&count)).then(|| {
        let hint = "leave it out for one worker per node";
        issue_with_hint("/workerCount", message, hint)
    })
}

fn check_parameter_servers(count: u32, node_count: u32) -> Option<Issue> {
    let message = format!(
        "parameterServerCount is {count}, but a node has one at most and the job has {node_count}"
    );
    (count > node_count).then(|| {
        let hint = "ask for fewer servers or more nodes";
        issue_with_hint("/parameterServerCount", message, hint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            python_script_file_path: Some("train.py".to_owned()),
            ..Settings::default()
        }
    }

    fn counts(settings: Settings, node_count: u32) -> (Option<u32>, Option<u32>) {
        let complete = settings.complete(node_count).unwrap();
        (complete.worker_count, complete.parameter_server_count)
    }

    fn paths(settings: Settings, node_count: u32) -> Vec<String> {
        let issues = settings.complete(node_count).unwrap_err();
        issues.into_iter().map(|issue| issue.path).collect()
    }

    #[test]
    fn only_a_distributed_job_has_counts() {
        assert_eq!(counts(settings(), 1), (None, None));
        assert_eq!(counts(settings(), 3), (Some(3), Some(1)));
        let one_worker = Settings {
            worker_count: Some(1),
            ..settings()
        };
        assert_eq!(counts(one_worker, 1), (Some(1), None));
        let two_workers = Settings {
            worker_count: Some(2),
            ..settings()
        };
        assert_eq!(counts(two_workers, 1), (Some(2), Some(1)));
        let arguments = Settings {
            parameter_server_command_line_args: Some("--job_name=ps".to_owned()),
            ..settings()
        };
        assert_eq!(counts(arguments, 1), (Some(1), Some(1)));
    }

    #[test]
    fn a_distributed_job_may_have_no_parameter_servers() {
        let none = Settings {
            parameter_server_count: Some(0),
            ..settings()
        };
        assert_eq!(counts(none, 2), (Some(2), Some(0)));
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let bad = Settings {
            worker_count: Some(0),
            parameter_server_count: Some(3),
            ..Settings::default()
        };
        assert_eq!(
            paths(bad, 2),
            [
                "/pythonScriptFilePath",
                "/workerCount",
                "/parameterServerCount"
            ]
        );
    }
}
