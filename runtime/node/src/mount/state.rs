//! What a daemon must know of mounts that another one made, beside what the kernel tells.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lote_model::planned_mount::MountRoot;
use serde::{Deserialize, Serialize};

use super::client::Client;

/// The file with it, in the directory of an attempt's mounts. It is gone with the machine's
/// memory, as they are.
const FILE: &str = "state.json";

/// A file system that was mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) root: MountRoot,
    pub(crate) relative: String,
    /// The directory of this node that it shows, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) directory: Option<String>,
    /// Which directory in that, if not all of it is shown. Jobs may change what lies on the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) below: Option<String>,
    /// The process that is the file system, if there is one of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<Client>,
}

pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

/// Writes all of it; a crash leaves what was there before.
pub(super) fn write(directory: &Path, made: &[Made]) -> io::Result<()> {
    let draft = directory.join("state.new");
    fs::write(&draft, serde_json::to_vec(made)?)?;
    fs::rename(draft, path(directory))
}

/// Nothing if nothing is known.
pub(crate) fn read(directory: &Path) -> Vec<Made> {
    let text = fs::read(path(directory)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}
