//! Job files and what is made of them.

use std::io::Read as _;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Context;
use crate::failure::Failure;
use crate::storage_account::{self, StorageAccount};
use crate::{job_body, job_file, job_name, place};

/// The cluster of a first start.
pub(super) const CLUSTER_DEFAULT: &str = "local";

/// Reads a job file, or standard input for `-`.
pub(super) fn read_file(path: &Path) -> Result<Map<String, Value>, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(job_file::FILE_LENGTH_MAX)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| {
            file.take(job_file::FILE_LENGTH_MAX)
                .read_to_string(&mut text)
        })
    };
    read.map_err(|source| Failure::File {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    job_file::parse(&path.to_string_lossy(), &text).map_err(|source| Failure::JobFile {
        path: path.to_owned(),
        source,
    })
}

/// The body for a job file: its cluster is what the user or the file says, or the
/// default one; what it leaves open of a storage account is what variables say.
pub(super) fn body(
    context: &Context<'_>,
    mut members: Map<String, Value>,
    cluster: Option<&str>,
) -> Result<Value, Failure> {
    if let Some(properties) = members.get_mut("properties") {
        let account = StorageAccount {
            name: context.surroundings.variable(storage_account::ACCOUNT),
            key: context.surroundings.variable(storage_account::KEY),
        };
        account.fill(properties)?;
    }
    let workspace = &context.settings.workspace;
    let chosen = cluster
        .map(|name| place::cluster_id(workspace, name))
        .transpose()?;
    let default = place::cluster_id(workspace, CLUSTER_DEFAULT)?;
    Ok(job_body::of_file(members, chosen.as_deref(), &default))
}

/// The name for a job from a file: as given, else the file's own, else a new one.
pub(super) fn name(given: Option<&str>, members: &Map<String, Value>, file: &Path) -> String {
    match given.or_else(|| members.get("name").and_then(Value::as_str)) {
        Some(name) => name.to_owned(),
        None => generated(job_name::stem_of_file(&file.to_string_lossy())),
    }
}

/// A new name.
pub(super) fn generated(stem: &str) -> String {
    let random = uuid::Uuid::new_v4().into_bytes();
    job_name::generate(
        stem,
        Timestamp::now(),
        [random[0], random[1], random[2], random[3]],
    )
}
