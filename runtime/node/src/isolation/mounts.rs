//! A private view of the file system for one process.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the process sees different from the host.
///
/// The parts are applied in the order of the members. Sources and kept
/// directories are taken hold of first, so they may lie below something that is
/// replaced or hidden.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPlan {
    /// Directories replaced by private ones, such as `/tmp`.
    pub private: Vec<PrivateDirectory>,
    /// Directories that look empty (files: read as empty). Missing ones are no
    /// error: there is nothing to hide.
    pub hidden: Vec<PathBuf>,
    /// Directories that stay visible under their own path although they lie below
    /// a private or hidden one. One that lies below neither costs nothing.
    pub keep: Vec<PathBuf>,
    /// Files or directories shown at another place, over what is there.
    pub binds: Vec<BindMount>,
    /// Mount points or directories that cannot be written to.
    pub read_only: Vec<PathBuf>,
}

/// A directory that the process does not share with the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateDirectory {
    /// What is replaced; a missing one is skipped.
    pub target: PathBuf,
    /// What is there instead.
    pub source: PrivateSource,
}

/// Where the contents of a private directory live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrivateSource {
    /// In this directory of the host, which the caller created with the right
    /// owner and removes afterwards. Processes given the same one share it.
    Directory(PathBuf),
    /// In memory, gone with the process; counted to the job's memory.
    Memory {
        /// The most it may hold.
        size_bytes: u64,
    },
}

/// A file or directory shown at another place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindMount {
    /// What is shown.
    pub source: PathBuf,
    /// Where; must exist.
    pub target: PathBuf,
    /// Whether writing is refused.
    pub read_only: bool,
}
