//! What a spool must know to be delivered, whoever made it.

use std::fs;
use std::io;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use lote_model::id::JobUid;
use lote_model::path::JobPath;
use lote_model::planned_mount::PlannedMount;
use serde::{Deserialize, Serialize};

use super::destination::Place;
use super::ledger::Ledger;
use crate::directories;
use crate::isolation::Identity;

/// Written once, when the spool is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The job.
    pub(crate) job: JobPath,
    /// Its unique id.
    pub(crate) uid: JobUid,
    /// Which start of it.
    pub(crate) attempt: u32,
    /// Whose rights the destination is written with.
    pub(crate) identity: Option<Identity>,
    /// The machine's boot: after another one, what a file lacks was lost with the machine's memory.
    pub(crate) boot_id: String,
    /// The destination, as the job calls it.
    pub(crate) directory: PathBuf,
    /// The same as the host reaches it.
    pub(crate) place: Place,
    /// What is mounted there.
    pub(crate) mount: PlannedMount,
    /// Mode bits that new files and directories there do not get.
    pub(crate) umask: u32,
    /// The names of its files, here and there.
    pub(crate) names: Vec<String>,
    /// Which of them is the launcher's own log.
    pub(crate) log: String,
}

/// A spool's parts in the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpoolPaths(PathBuf);

impl SpoolPaths {
    /// The spool of one attempt; `run` is `{uid}.{attempt}`.
    pub(crate) fn new(spools: &Path, run: &str) -> Self {
        Self(spools.join(run))
    }

    /// All of it.
    pub(crate) fn directory(&self) -> &Path {
        &self.0
    }

    /// The files that processes write into.
    pub(crate) fn files(&self) -> PathBuf {
        self.0.join("files")
    }

    fn manifest(&self) -> PathBuf {
        self.0.join("manifest.json")
    }

    pub(super) fn ledger(&self) -> PathBuf {
        self.0.join("ledger")
    }

    /// Reads the manifest; `None` if there is no spool, or only the beginning of one.
    pub(crate) fn read(&self) -> io::Result<Option<Manifest>> {
        match fs::read(self.manifest()) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a spool. The manifest comes last: without it there is none.
    ///
    /// Everything belongs to root. The job's group may pass and list, so that the owner of a file
    /// can read it; nobody but root may make, remove or rename one. The job's processes are not
    /// even shown these directories: they hold descriptors.
    pub(crate) fn create(&self, manifest: &Manifest) -> io::Result<()> {
        let group = manifest.identity.map(|identity| identity.gid);
        for (path, mode) in [(self.0.clone(), 0o710), (self.files(), 0o750)] {
            directories::with_mode(&path, mode)?;
            chown(&path, None, group)?;
        }
        Ledger::create(&self.ledger(), manifest.names.len())?;
        let text = serde_json::to_vec(manifest)?;
        lote_vault::file::replace(&self.manifest(), &text, 0o644)
    }

    /// Removes it; removing nothing is no error.
    pub(crate) fn remove(&self) -> io::Result<()> {
        directories::remove(&self.0)
    }
}
