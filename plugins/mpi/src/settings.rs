//! The settings that frameworks with a Python script under MPI share: Chainer, Horovod.

use lote_plugin_sdk::issues::{none_of, process_count, required};
use lote_plugin_sdk::python;
use lote_plugin_sdk::types::Issue;
use serde::{Deserialize, Serialize};

use crate::Program;

/// `chainerSettings` and `horovodSettings` of the API. What the user left out stays out
/// of the answer, except `processCount`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PythonSettings {
    /// Shell text of the script's path. Present once complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python_script_file_path: Option<String>,
    /// Shell text of the interpreter's path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python_interpreter_path: Option<String>,
    /// Shell text of the script's arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_line_args: Option<String>,
    /// How many ranks. Present once complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_count: Option<u32>,
}

impl PythonSettings {
    /// Checks the settings of a job of this many nodes and writes defaults in.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn complete(mut self, node_count: u32) -> Result<Self, Vec<Issue>> {
        let processes = *self.process_count.get_or_insert(node_count);
        let script = required(
            "pythonScriptFilePath",
            self.python_script_file_path.as_deref(),
            "give the path of the script, such as `$AZ_BATCHAI_INPUT_CODE/train.py`",
        );
        none_of([script, process_count(processes, node_count)], self)
    }

    /// What to start, for complete settings.
    pub fn program(&self) -> Program {
        Program {
            line: python::line(
                self.python_interpreter_path.as_deref(),
                self.python_script_file_path.as_deref(),
                self.command_line_args.as_deref(),
            ),
            processes: self.process_count.unwrap_or(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_count_is_the_node_count_by_default() {
        let settings = PythonSettings {
            python_script_file_path: Some("train.py".to_owned()),
            ..PythonSettings::default()
        };
        assert_eq!(settings.complete(4).unwrap().program().processes, 4);
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let settings = PythonSettings {
            process_count: Some(0),
            ..PythonSettings::default()
        };
        let issues = settings.complete(2).unwrap_err();
        let paths: Vec<_> = issues.iter().map(|issue| issue.path.as_str()).collect();
        assert_eq!(paths, ["/pythonScriptFilePath", "/processCount"]);
    }
}
