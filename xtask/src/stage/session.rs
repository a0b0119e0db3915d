//! What the stages of one run share: the workspace, and one build of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::artifacts::{self, Artifacts, TestProgram};
use crate::command;
use crate::error::Error;
use crate::frameworks::Installation;
use crate::libtest;
use crate::stage::Tally;
use crate::workspace::Workspace;

/// How long one test program may run. Far more than any needs; it only keeps a
/// test that hangs from hiding the results of the others.
const TEST_PROGRAM_LIMIT: Duration = Duration::from_mins(25);

/// One run of `cargo xtask test`.
pub(crate) struct Session<'a> {
    /// The checkout.
    pub(crate) workspace: &'a Workspace,
    /// Where the output of test programs goes.
    pub(crate) logs: PathBuf,
    /// The installation of frameworks, once it has begun.
    pub(crate) installation: Option<Installation>,
    /// The build, once some stage asked for it.
    artifacts: Option<Rc<Artifacts>>,
}

impl<'a> Session<'a> {
    /// A session with an empty folder for logs.
    pub(crate) fn new(workspace: &'a Workspace) -> Result<Self, Error> {
        let logs = workspace.target.join("xtask/logs");
        if logs.exists() {
            std::fs::remove_dir_all(&logs).map_err(Error::file("remove", &logs))?;
        }
        std::fs::create_dir_all(&logs).map_err(Error::file("create", &logs))?;
        Ok(Self {
            workspace,
            logs,
            installation: None,
            artifacts: None,
        })
    }

    /// The build of everything; made by the first stage that needs it.
    pub(crate) fn artifacts(&mut self) -> Result<Rc<Artifacts>, Error> {
        if let Some(artifacts) = &self.artifacts {
            return Ok(Rc::clone(artifacts));
        }
        let artifacts = Rc::new(artifacts::all(self.workspace)?);
        self.artifacts = Some(Rc::clone(&artifacts));
        Ok(artifacts)
    }

    /// Runs a test program with further arguments and counts its tests.
    pub(crate) fn run_tests(
        &self,
        program: &TestProgram,
        log_name: &str,
        configure: impl FnOnce(&mut Command),
    ) -> Result<Tally, Error> {
        let mut command = program.command(self.workspace);
        command.args(libtest::ARGUMENTS);
        configure(&mut command);
        self.run_counted(&mut command, &program.label(self.workspace), log_name)
    }

    /// Runs anything that prints as test programs do, and counts its tests.
    pub(crate) fn run_counted(
        &self,
        command: &mut Command,
        label: &str,
        log_name: &str,
    ) -> Result<Tally, Error> {
        let log = self.logs.join(format!("{log_name}.log"));
        let started = Instant::now();
        let ended = command::run_logged(command, &log, TEST_PROGRAM_LIMIT)?;
        let output = command::read_lossy(&log)?;
        let tally = libtest::read(&output, ended.success());
        let seconds = started.elapsed().as_secs_f32();
        println!("   {label}: {tally} ({seconds:.1} s)");
        if tally.failed > 0 {
            show_failures(&output, &log);
        }
        Ok(tally)
    }
}

/// Prints what failing tests said, or the end of the log of one that died.
fn show_failures(output: &str, log: &Path) {
    let failures = output.find("\nfailures:\n").map(|at| &output[at + 1..]);
    println!("{}", command::last_characters(failures.unwrap_or(output)));
    println!("   (all of it: {})", log.display());
}
