//! `pyTorchSettings`, its rules and defaults.

use lote_plugin_sdk::issues::{issue_with_hint, none_of, process_count, required};
use lote_plugin_sdk::types::Issue;
use serde::{Deserialize, Serialize};

/// `pyTorchSettings` of the API. What the user left out stays out of the answer,
/// except `processCount`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
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
    /// As the user wrote it, in any case of letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub communication_backend: Option<String>,
}

/// How the processes of a job communicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Sockets; the backend of old releases.
    Tcp,
    /// Sockets, also the usual choice without GPUs.
    Gloo,
    /// Through an MPI launcher.
    Mpi,
    /// Between GPUs. Not in Batch AI, the usual choice today.
    Nccl,
}

impl Backend {
    fn parse(text: &str) -> Option<Self> {
        [Self::Tcp, Self::Gloo, Self::Mpi, Self::Nccl]
            .into_iter()
            .find(|backend| backend.name().eq_ignore_ascii_case(text.trim()))
    }

    /// The name `torch.distributed` knows it by; every release takes lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Gloo => "gloo",
            Self::Mpi => "mpi",
            Self::Nccl => "nccl",
        }
    }
}

impl Settings {
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
        let issues = [
            script,
            process_count(processes, node_count),
            self.check_backend(processes),
        ];
        none_of(issues, self)
    }

    /// The backend, if one is given.
    pub fn backend(&self) -> Option<Backend> {
        self.communication_backend
            .as_deref()
            .and_then(Backend::parse)
    }

    fn check_backend(&self, process_count: u32) -> Option<Issue> {
        let path = "/communicationBackend";
        let hint = "choose TCP, Gloo, MPI or NCCL";
        match &self.communication_backend {
            Some(text) if self.backend().is_none() => Some(issue_with_hint(
                path,
                format!("communicationBackend `{text}` is not known"),
                hint,
            )),
            None if process_count > 1 => Some(issue_with_hint(
                path,
                format!("communicationBackend is required for {process_count} processes"),
                hint,
            )),
            _ => None,
        }
    }
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

    fn paths(settings: Settings, node_count: u32) -> Vec<String> {
        let issues = settings.complete(node_count).unwrap_err();
        issues.into_iter().map(|issue| issue.path).collect()
    }

    #[test]
    fn the_process_count_is_the_node_count_by_default() {
        let gloo = Some("Gloo".to_owned());
        let complete = Settings {
            communication_backend: gloo,
            ..settings()
        }
        .complete(4)
        .unwrap();
        assert_eq!(complete.process_count, Some(4));
        assert_eq!(settings().complete(1).unwrap().process_count, Some(1));
    }

    #[test]
    fn backends_are_known_in_any_case() {
        for (text, backend) in [
            ("tcp", Backend::Tcp),
            ("GLOO", Backend::Gloo),
            ("Mpi", Backend::Mpi),
            ("nccl", Backend::Nccl),
        ] {
            let settings = Settings {
                communication_backend: Some(text.to_owned()),
                ..settings()
            };
            assert_eq!(settings.complete(2).unwrap().backend(), Some(backend));
        }
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let bad = Settings {
            process_count: Some(0),
            communication_backend: Some("carrier pigeon".to_owned()),
            ..Settings::default()
        };
        assert_eq!(
            paths(bad, 2),
            [
                "/pythonScriptFilePath",
                "/processCount",
                "/communicationBackend"
            ]
        );
        assert_eq!(paths(settings(), 2), ["/communicationBackend"]);
        let many = Settings {
            process_count: Some(u32::MAX),
            ..settings()
        };
        assert_eq!(paths(many, 1), ["/processCount", "/communicationBackend"]);
    }
}
