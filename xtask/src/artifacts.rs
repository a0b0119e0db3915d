//! Builds the workspace, once, and finds the test programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::command;
use crate::error::Error;
use crate::install;
use crate::plugins;
use crate::workspace::Workspace;

/// What a build of the whole workspace left.
#[derive(Debug, Default)]
pub(crate) struct Artifacts {
    /// The `lote` program.
    pub(crate) lote: PathBuf,
    /// The test programs, in the order in which Cargo finished them.
    pub(crate) tests: Vec<TestProgram>,
}

/// One test program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestProgram {
    /// The folder of its package; tests run there.
    pub(crate) package: PathBuf,
    /// The target's name: the library's, or `it`.
    pub(crate) target: String,
    /// The program.
    pub(crate) program: PathBuf,
}

/// What compiles the parts in C, the allocator, the cryptography and the filters of devices, and
/// the messages of etcd.
const COMPILER: &[&str] = &[
    "gcc",
    "libelf-dev",
    "libprotobuf-dev",
    "make",
    "pkgconf",
    "protobuf-compiler",
    "zlib1g-dev",
];

/// Builds the framework plugins and answers the components.
pub(crate) fn plugins(workspace: &Workspace) -> Result<Vec<PathBuf>, Error> {
    install::debian_packages(COMPILER)?;
    install::plugin_target()?;
    plugins::build(workspace)
}

/// Builds the programs only, and answers `lote`.
///
/// `--workspace` and not `--package lote`: the selection decides which features
/// shared dependencies get, see the top of this crate.
pub(crate) fn programs(workspace: &Workspace) -> Result<PathBuf, Error> {
    plugins(workspace)?;
    command::run(&mut workspace.cargo(&["build", "--release", "--workspace", "--bins"]))?;
    Ok(workspace.target.join("release/lote"))
}

/// Builds everything: plugins, programs, tests and examples.
pub(crate) fn all(workspace: &Workspace) -> Result<Artifacts, Error> {
    plugins(workspace)?;
    let mut build = workspace.cargo(&[
        "build",
        "--release",
        "--workspace",
        "--all-targets",
        "--message-format=json-render-diagnostics",
    ]);
    // Progress and findings go to standard error, which the user sees.
    let output = build
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| Error::Start {
            command: command::line(&build),
            source,
        })?;
    if !output.status.success() {
        return Err(Error::Failed {
            command: command::line(&build),
            status: output.status,
            output: String::new(),
        });
    }
    read_messages(&String::from_utf8_lossy(&output.stdout))
}

/// Reads Cargo's messages, one JSON object per line.
fn read_messages(messages: &str) -> Result<Artifacts, Error> {
    let mut artifacts = Artifacts::default();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Value = serde_json::from_str(line).map_err(|source| Error::Json {
            what: "a message of `cargo build`",
            source,
        })?;
        read_message(&message, &mut artifacts);
    }
    if artifacts.lote.as_os_str().is_empty() {
        return Err(Error::Other(
            "the build made no program named `lote`".into(),
        ));
    }
    Ok(artifacts)
}

fn read_message(message: &Value, artifacts: &mut Artifacts) {
    let Some(program) = message["executable"].as_str().map(PathBuf::from) else {
        return;
    };
    let target = message["target"]["name"].as_str().unwrap_or_default();
    let manifest = Path::new(message["manifest_path"].as_str().unwrap_or_default());
    if message["profile"]["test"] == true {
        artifacts.tests.push(TestProgram {
            package: manifest.parent().unwrap_or(manifest).to_owned(),
            target: target.to_owned(),
            program,
        });
    } else if target == "lote" {
        artifacts.lote = program;
    }
}

impl TestProgram {
    /// What people call it: `runtime/store it`.
    pub(crate) fn label(&self, workspace: &Workspace) -> String {
        let package = workspace.relative(&self.package).display();
        format!("{package} {}", self.target)
    }

    /// The command that runs it as Cargo would.
    pub(crate) fn command(&self, workspace: &Workspace) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(&self.package)
            .env("CARGO_MANIFEST_DIR", &self.package)
            .env("CARGO_TARGET_DIR", &workspace.target)
            .env("LOTE_PLUGIN_DIR", workspace.plugins())
            // Golden files are compared here and changed elsewhere.
            .env("INSTA_WORKSPACE_ROOT", &workspace.root)
            .env("INSTA_UPDATE", "no");
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(target: &str, test: bool, executable: &str) -> String {
        serde_json::json!({
            "reason": "compiler-artifact",
            "manifest_path": "/w/runtime/lote/Cargo.toml",
            "target": { "name": target, "kind": ["bin"] },
            "profile": { "test": test },
            "executable": (!executable.is_empty()).then_some(executable),
        })
        .to_string()
    }

    #[test]
    fn programs_and_tests_are_told_apart() {
        let messages = [
            artifact("lote", true, "/t/lote-1"),
            artifact("lote", false, "/t/lote"),
            artifact("lote_model", false, ""),
            artifact("xtask", false, "/t/xtask"),
            "text that some build script printed".into(),
        ]
        .join("\n");
        let artifacts = read_messages(&messages).unwrap();
        assert_eq!(artifacts.lote, Path::new("/t/lote"));
        let test = TestProgram {
            package: "/w/runtime/lote".into(),
            target: "lote".into(),
            program: "/t/lote-1".into(),
        };
        assert_eq!(artifacts.tests, [test]);
    }

    #[test]
    fn a_build_without_the_program_is_an_error() {
        assert!(read_messages(&artifact("lote", true, "/t/lote-1")).is_err());
    }
}
