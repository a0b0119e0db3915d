//! Uploads that nobody goes on with.
//!
//! They lie beside what they were to become, so they are looked for in all
//! directories; rarely, as that reads the names of all files.

use std::fs;
use std::io;
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use lote_model::export::{Export, ExportPhase};
use lote_model::key;
use lote_store::{ListRequest, StoreError, list_json};
use nix::dir::{Dir, Type};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::INCOMPLETE;
use super::place;
use super::target::enter;
use crate::files::beneath::{open_directory, open_to_ask};
use crate::files::relative::RelativePath;
use crate::files::{Directory, blocking};
use crate::state::ApiState;

/// How long an upload is kept after its last chunk came.
const KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How often uploads are looked for.
const PERIOD: Duration = Duration::from_hours(24);

/// Looks for them until the server stops.
pub(crate) async fn run(state: ApiState) {
    loop {
        if let Err(error) = sweep(&state).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "uploads that nobody goes on with were not looked for"
            );
        }
        tokio::select! {
            () = state.stopping.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

async fn sweep(state: &ApiState) -> Result<(), StoreError> {
    let prefix = key::exports_of(&state.config.node);
    let exports = list_json::<Export>(state.store(), ListRequest::prefix(prefix)).await?;
    for export in exports.items {
        let export = export.value;
        if export.phase != ExportPhase::Serve {
            continue;
        }
        // One that is not served now is looked through another time.
        let Ok(exported) = place::exported(state, &export.uid).await else {
            continue;
        };
        let before = state.now() - KEPT;
        let (stopping, name) = (state.stopping.clone(), export.file_server.name);
        let removed =
            blocking(move || remove(&exported.directory, before, &|| stopping.is_cancelled()));
        match removed.await {
            Ok(0) => {}
            Ok(count) => {
                tracing::info!("removed {count} abandoned uploads from file server {name}");
            }
            Err(error) => tracing::warn!("file server {name} was not looked through: {error}"),
        }
    }
    Ok(())
}

/// Removes uploads last written before a time; how many. What cannot be read is
/// left out: the user's uploads are where the user can write.
fn remove(
    directory: &Directory,
    before: Timestamp,
    is_stopping: &dyn Fn() -> bool,
) -> io::Result<usize> {
    let root = RelativePath::parse(".").map_err(io::Error::other)?;
    let mut removed = 0;
    let mut pending = vec![root];
    while let Some(path) = pending.pop() {
        if is_stopping() {
            break;
        }
        removed += remove_in(directory, &path, before, &mut pending).unwrap_or_default();
    }
    Ok(removed)
}

fn remove_in(
    directory: &Directory,
    path: &RelativePath,
    before: Timestamp,
    pending: &mut Vec<RelativePath>,
) -> io::Result<usize> {
    let export = enter(directory)?;
    let opened = open_directory(&export.root, path)?;
    let mut removed = 0;
    for entry in Dir::from_fd(opened.try_clone()?)?.into_iter().flatten() {
        let name = entry.file_name();
        let text = name.to_string_lossy();
        let Ok(below) = path.join(&text) else {
            continue;
        };
        match entry.file_type() {
            Some(Type::Directory) if text != "." && text != ".." => pending.push(below),
            Some(Type::File) if text.starts_with(INCOMPLETE) => {
                let written = fs::File::from(open_to_ask(&export.root, &below)?)
                    .metadata()?
                    .modified()?;
                if written < SystemTime::from(before) {
                    unlinkat(&opened, name, UnlinkatFlags::NoRemoveDir)?;
                    removed += 1;
                }
            }
            _ => {}
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_uploads_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        let now = Timestamp::now();
        for (name, days) in [(".lote-upload-old", 8), (".lote-upload-new", 6), ("old", 8)] {
            let file = fs::File::create(deep.join(name)).unwrap();
            let written = now - SignedDuration::from_hours(days * 24);
            file.set_modified(written.into()).unwrap();
        }
        let directory = Directory {
            path: folder.path().to_owned(),
            within: None,
            owner: None,
        };
        assert_eq!(remove(&directory, now - KEPT, &|| false).unwrap(), 1);
        let mut left: Vec<_> = fs::read_dir(&deep)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, [".lote-upload-new", "old"]);
    }
}
