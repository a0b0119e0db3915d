//! `cntkSettings`, its rules and defaults.

use lote_mpi::Program;
use lote_plugin_sdk::issues::{issue_with_hint, none_of, process_count, required};
use lote_plugin_sdk::types::Issue;
use lote_plugin_sdk::{python, shell};
use serde::{Deserialize, Serialize};

/// `cntkSettings` of the API. What the user left out stays out of the answer, except
/// `languageType` and `processCount`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// As the user wrote it, in any case of letters. Present once complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language_type: Option<String>,
    /// Shell text of the configuration's path, for `BrainScript`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_file_path: Option<String>,
    /// Shell text of the script's path, for Python.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python_script_file_path: Option<String>,
    /// Shell text of the interpreter's path, for Python.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python_interpreter_path: Option<String>,
    /// Shell text of the arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_line_args: Option<String>,
    /// How many ranks. Present once complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_count: Option<u32>,
}

/// What a job of CNTK is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// CNTK's own, run by the program `cntk`.
    BrainScript,
    /// Run by an interpreter.
    Python,
}

impl Language {
    fn parse(text: &str) -> Option<Self> {
        [Self::BrainScript, Self::Python]
            .into_iter()
            .find(|language| language.name().eq_ignore_ascii_case(text.trim()))
    }

    /// The name that the API knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::BrainScript => "BrainScript",
            Self::Python => "Python",
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
        let inferred = self.inferred_language().name();
        self.language_type
            .get_or_insert_with(|| inferred.to_owned());
        let mut issues = match self.language() {
            None => vec![Some(self.unknown_language())],
            Some(Language::BrainScript) => self.check_brain_script(),
            Some(Language::Python) => self.check_python(),
        };
        issues.push(process_count(processes, node_count));
        none_of(issues, self)
    }

    /// The language, if it is a known one.
    pub fn language(&self) -> Option<Language> {
        self.language_type.as_deref().and_then(Language::parse)
    }

    /// What to start, for complete settings.
    pub fn program(&self) -> Program {
        let arguments = self.command_line_args.as_deref();
        let line = if self.language() == Some(Language::BrainScript) {
            let path = shell::path_word(self.config_file_path.as_deref().unwrap_or_default());
            let config = format!("configFile={path}");
            shell::line(["exec cntk", &config, arguments.unwrap_or_default()])
        } else {
            let interpreter = self.python_interpreter_path.as_deref();
            let script = self.python_script_file_path.as_deref();
            python::line(interpreter, script, arguments)
        };
        let processes = self.process_count.unwrap_or(1);
        Program { line, processes }
    }

    /// A configuration alone means `BrainScript`.
    fn inferred_language(&self) -> Language {
        match (&self.config_file_path, &self.python_script_file_path) {
            (Some(_), None) => Language::BrainScript,
            _ => Language::Python,
        }
    }

    fn unknown_language(&self) -> Issue {
        let text = self.language_type.as_deref().unwrap_or_default();
        issue_with_hint(
            "/languageType",
            format!("languageType `{text}` is not known"),
            "choose BrainScript or Python, or leave it out",
        )
    }

    fn check_brain_script(&self) -> Vec<Option<Issue>> {
        vec![
            required(
                "configFilePath",
                self.config_file_path.as_deref(),
                "give the path of the configuration, or choose languageType Python",
            ),
            only_with(
                Language::Python,
                "pythonScriptFilePath",
                self.python_script_file_path.as_ref(),
            ),
            only_with(
                Language::Python,
                "pythonInterpreterPath",
                self.python_interpreter_path.as_ref(),
            ),
        ]
    }

    fn check_python(&self) -> Vec<Option<Issue>> {
        vec![
            required(
                "pythonScriptFilePath",
                self.python_script_file_path.as_deref(),
                "give the path of the script, or configFilePath for BrainScript",
            ),
            only_with(
                Language::BrainScript,
                "configFilePath",
                self.config_file_path.as_ref(),
            ),
        ]
    }
}

/// The issue for a member that belongs to the other language.
fn only_with(language: Language, member: &str, value: Option<&String>) -> Option<Issue> {
    value.map(|_| {
        issue_with_hint(
            format!("/{member}"),
            format!("{member} belongs to languageType {}", language.name()),
            "leave one of the two out",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brain_script() -> Settings {
        Settings {
            config_file_path: Some("$DIR/net.cntk".to_owned()),
            ..Settings::default()
        }
    }

    fn paths(settings: Settings) -> Vec<String> {
        let issues = settings.complete(2).unwrap_err();
        issues.into_iter().map(|issue| issue.path).collect()
    }

    #[test]
    fn the_language_follows_from_the_path() {
        let complete = brain_script().complete(2).unwrap();
        assert_eq!(complete.language_type.as_deref(), Some("BrainScript"));
        assert_eq!(complete.process_count, Some(2));
        let python = Settings {
            python_script_file_path: Some("x.py".to_owned()),
            ..Settings::default()
        };
        let complete = python.complete(1).unwrap();
        assert_eq!(complete.language_type.as_deref(), Some("Python"));
    }

    #[test]
    fn languages_are_known_in_any_case() {
        let settings = Settings {
            language_type: Some("brainscript".to_owned()),
            ..brain_script()
        };
        let complete = settings.complete(1).unwrap();
        assert_eq!(complete.language(), Some(Language::BrainScript));
        assert_eq!(
            complete.program().line,
            r#"exec cntk configFile="$DIR/net.cntk""#
        );
    }

    #[test]
    fn what_belongs_to_the_other_language_is_refused() {
        let both = Settings {
            python_script_file_path: Some("x.py".to_owned()),
            python_interpreter_path: Some("python3".to_owned()),
            ..brain_script()
        };
        assert_eq!(paths(both.clone()), ["/configFilePath"]);
        let both = Settings {
            language_type: Some("BrainScript".to_owned()),
            ..both
        };
        assert_eq!(
            paths(both),
            ["/pythonScriptFilePath", "/pythonInterpreterPath"]
        );
        assert_eq!(paths(Settings::default()), ["/pythonScriptFilePath"]);
        let unknown = Settings {
            language_type: Some("Basic".to_owned()),
            process_count: Some(0),
            ..brain_script()
        };
        assert_eq!(paths(unknown), ["/languageType", "/processCount"]);
    }
}
