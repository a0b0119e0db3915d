//! Containers of jobs: another root for the processes, and nothing else. Limits, devices, mounts
//! and accounts are those of any job.
//!
//! * [`reference`] — names of images; pure.
//! * [`table`] — where the operator says that they come from; pure but for its reading.
//! * [`source`] — from a job's wish to a place.
//! * [`tools`] — `skopeo`, which fetches, and `umoci`, which unpacks.
//! * [`archive`] — which kind of file an image is in.
//! * [`images`] — the images of this node.
//! * [`layout`] — what an image says of itself.
//! * [`ids`] — which user ids a container has; pure.
//! * [`namespace`] — the user name space of a job.
//! * [`nvidia`] — the driver's libraries, which no image has.
//! * [`root`] — the root of a job, from its making to its end.
//!
//! What this module must never do: follow a link of an image out of it, show one workspace what
//! only another may pull, keep a password anywhere but in memory, or remove what a job uses.

mod archive;
mod ids;
mod images;
mod layout;
mod namespace;
mod nvidia;
mod reference;
mod root;
mod source;
mod table;
mod tools;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lote_model::node::{CONTAINERS, Capability};
use lote_model::problem::explain;

use crate::directories::PathError;
use crate::isolation::Identity;
use crate::operator_table::TableError;
use table::ImageTable;

pub(crate) use images::Images;
pub(crate) use root::{JobRoot, Place, leave, one_at_a_time, remembered, strays};
pub(crate) use source::{Credentials, Found, Source};

/// How long an image may take to be pulled, and to be unpacked, unless the operator says otherwise.
pub const PULL_TIME_LIMIT_DEFAULT: Duration = Duration::from_hours(1);

/// How much the images of a node may take up, unless the operator says otherwise.
pub const CACHE_BYTES_DEFAULT: u64 = 64 << 30;

/// What the operator says of containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerConfig {
    /// The table of where images come from.
    pub image_table: Option<PathBuf>,
    /// How long each step of a pull may take.
    pub pull_time_limit: Duration,
    /// How much the unpacked images may take up, those in use apart.
    pub cache_bytes: u64,
}

impl Default for ContainerConfig {
    fn default() -> Self {
        Self {
            image_table: None,
            pull_time_limit: PULL_TIME_LIMIT_DEFAULT,
            cache_bytes: CACHE_BYTES_DEFAULT,
        }
    }
}

/// A container could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContainerError {
    #[error("'{image}' is no name of an image: {reason}")]
    Name { image: String, reason: String },
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(
        "the image table of this node has no entry for it, and says that other images are not \
         pulled; ask the operator for one"
    )]
    NotInTable,
    #[error("{0}")]
    Password(String),
    #[error("{program} cannot be started; is its package installed on this node?")]
    NotStarted {
        program: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{program} failed ({status}): {said}")]
    Failed {
        program: &'static str,
        status: String,
        said: String,
    },
    #[error(
        "there is no room for the image on this node ({program}: {said}); free some in the \
         daemon's data directory, or give it less with --image-cache-size"
    )]
    Full { program: &'static str, said: String },
    #[error(
        "{program} took longer than {} seconds, which --image-pull-timeout allows: {said}",
        limit.as_secs()
    )]
    TimedOut {
        program: &'static str,
        limit: Duration,
        said: String,
    },
    #[error("{what}")]
    Strange { what: String },
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("the image has neither /bin/bash nor /bin/sh, with which commands are run")]
    NoShell,
}

/// Whether jobs with images can run on this node, for its record; `data_directory` is where
/// containers are made, unless jobs are kept apart by nothing.
pub(crate) fn capability(config: &ContainerConfig, data_directory: Option<&Path>) -> Capability {
    let able = match data_directory {
        Some(directory) => able(directory),
        None => Err("jobs are kept apart by nothing, and there is no container without".to_owned()),
    };
    let table = config.image_table.as_deref().map(ImageTable::read);
    let (in_force, note) = match (able, table) {
        (Err(reason), Some(Ok(table))) if table.has_host() => (
            true,
            format!("only images that the image table has on the node itself: {reason}"),
        ),
        (Err(reason), _) => (false, reason),
        (Ok(()), Some(Err(error))) => (false, explain(&error)),
        (Ok(()), Some(Ok(table))) => {
            let others = if table.pulls_others {
                "others are pulled"
            } else {
                "no others"
            };
            let count = table.len();
            (
                true,
                format!("{count} entries in the image table, {others}"),
            )
        }
        (Ok(()), None) => (true, "images are pulled from their registries".to_owned()),
    };
    Capability {
        name: CONTAINERS.into(),
        in_force,
        note,
    }
}

/// Tries what every container needs.
fn able(data_directory: &Path) -> Result<(), String> {
    let programs = [
        (tools::SKOPEO, "skopeo"),
        (tools::UMOCI, "umoci"),
        (tools::UNSHARE, "util-linux"),
        (tools::SETPRIV, "util-linux"),
    ];
    for (program, package) in programs {
        let mut directories = crate::command::SYSTEM_PATH.split(':');
        if !directories.any(|directory| Path::new(directory).join(program).is_file()) {
            return Err(format!(
                "{program} is missing: install the package {package}, then restart the daemon"
            ));
        }
    }
    // The user is nobody's: only whether it works is asked.
    let nobody = Identity {
        uid: lote_model::id::UnixId::FIRST.0,
        gid: lote_model::id::UnixId::FIRST.0,
    };
    root::probe(data_directory, nobody).map_err(|error| explain(&error))
}
