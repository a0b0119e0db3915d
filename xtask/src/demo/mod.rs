//! A daemon and a real training job, from nothing.
//!
//! * `folder` — the temporary folder.
//! * `daemon` — the daemon in it.
//! * `job` — submits, follows and shows the job.

mod daemon;
mod folder;
mod job;

use std::path::PathBuf;

use crate::artifacts;
use crate::command;
use crate::error::Error;
use crate::install;
use crate::workspace::Workspace;

use daemon::Daemon;
use folder::Folder;

/// The Debian packages that the job needs.
pub(crate) const PACKAGES: &[&str] = &["python3-torch", "python3-sklearn"];

/// How the demo runs.
#[derive(Debug)]
pub(crate) struct Options {
    /// Whether the daemon's folder stays.
    pub(crate) keep: bool,
    /// The program to use; none builds it.
    pub(crate) binary: Option<PathBuf>,
}

/// Runs the demo from the packages to the end of the daemon.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Error> {
    install::debian_packages(PACKAGES)?;
    let lote = match &options.binary {
        Some(binary) => std::path::absolute(binary).map_err(Error::file("find", binary))?,
        None => artifacts::programs(workspace)?,
    };
    let folder = Folder::create(options.keep)?;
    let daemon = Daemon::start(&lote, &folder)?;
    let result = job::run(workspace, &daemon, &folder);
    if let Err(error) = result {
        daemon.end_job(job::NAME);
        let log = command::read_lossy(&daemon.log)?;
        eprintln!(
            "the daemon's log ends with:\n{}",
            command::last_characters(&log)
        );
        return Err(error);
    }
    daemon.stop()?;
    folder.remove()
}

/// Prints what the demo is about to do.
pub(super) fn announce(step: &str) {
    println!("\n-- {step}");
}
