//! `caffeSettings`, its rules and defaults.

use lote_mpi::Program;
use lote_plugin_sdk::issues::{issue_with_hint, none_of, process_count, required};
use lote_plugin_sdk::types::Issue;
use lote_plugin_sdk::{python, shell};
use serde::{Deserialize, Serialize};

/// `caffeSettings` of the API. What the user left out stays out of the answer, except
/// `processCount`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Shell text of the solver's path. This or the script.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_file_path: Option<String>,
    /// Shell text of the script's path. This or the solver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python_script_file_path: Option<String>,
    /// Shell text of the interpreter's path, for the script.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python_interpreter_path: Option<String>,
    /// Shell text of the arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_line_args: Option<String>,
    /// How many ranks. Present once complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_count: Option<u32>,
}

impl Settings {
    /// Checks the settings of a job of this many nodes and writes defaults in.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn complete(mut self, node_count: u32) -> Result<Self, Vec<Issue>> {
        let processes = *self.process_count.get_or_insert(node_count);
        let mut issues = self.check_paths();
        issues.push(process_count(processes, node_count));
        none_of(issues, self)
    }

    /// What to start, for complete settings.
    pub fn program(&self) -> Program {
        let arguments = self.command_line_args.as_deref();
        let line = match &self.config_file_path {
            Some(path) => shell::line([
                "exec caffe train -solver",
                &shell::path_word(path),
                arguments.unwrap_or_default(),
            ]),
            None => python::line(
                self.python_interpreter_path.as_deref(),
                self.python_script_file_path.as_deref(),
                arguments,
            ),
        };
        let processes = self.process_count.unwrap_or(1);
        Program { line, processes }
    }

    fn check_paths(&self) -> Vec<Option<Issue>> {
        let config = self.config_file_path.as_deref();
        let script = self.python_script_file_path.as_deref();
        if config.is_none() {
            let hint = "give the path of a script, or configFilePath for a solver";
            return vec![required("pythonScriptFilePath", script, hint)];
        }
        let hint = "a solver is run by the program `caffe`; leave one of the two out";
        let beside = |member: &str, value: &Option<String>| {
            let message = format!("{member} and configFilePath exclude each other");
            let path = format!("/{member}");
            value.as_ref().map(|_| issue_with_hint(path, message, hint))
        };
        vec![
            required("configFilePath", config, "give the path of the solver"),
            beside("pythonScriptFilePath", &self.python_script_file_path),
            beside("pythonInterpreterPath", &self.python_interpreter_path),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solver() -> Settings {
        Settings {
            config_file_path: Some("$DIR/solver.prototxt".to_owned()),
            ..Settings::default()
        }
    }

    fn paths(settings: Settings) -> Vec<String> {
        let issues = settings.complete(2).unwrap_err();
        issues.into_iter().map(|issue| issue.path).collect()
    }

    #[test]
    fn a_solver_is_trained() {
        let settings = Settings {
            command_line_args: Some("-gpu all".to_owned()),
            ..solver()
        };
        let program = settings.complete(1).unwrap().program();
        let line = r#"exec caffe train -solver "$DIR/solver.prototxt" -gpu all"#;
        assert_eq!((program.line.as_str(), program.processes), (line, 1));
    }

    #[test]
    fn solver_and_script_exclude_each_other() {
        let both = Settings {
            python_script_file_path: Some("x.py".to_owned()),
            python_interpreter_path: Some("python3".to_owned()),
            process_count: Some(0),
            ..solver()
        };
        let expected = [
            "/pythonScriptFilePath",
            "/pythonInterpreterPath",
            "/processCount",
        ];
        assert_eq!(paths(both), expected);
        assert_eq!(paths(Settings::default()), ["/pythonScriptFilePath"]);
        let blank = Settings {
            config_file_path: Some(" ".to_owned()),
            ..Settings::default()
        };
        assert_eq!(paths(blank), ["/configFilePath"]);
    }
}
