//! Whether an image is of what there is now. Debian's packages do not count: to have newer ones, build
//! it by hand.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;
use crate::error::Error;
use crate::workspace::Workspace;

/// The file beside an image that says what it was built from.
const FILE: &str = "inputs";

/// What decides how an image is built, besides the program in it.
const SOURCES: [&str; 2] = ["node-image", "xtask/src/node_image"];

/// What the image is to be built from, in a word.
pub(super) fn digest(workspace: &Workspace, lote: &Path) -> Result<String, Error> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&workspace.root.join(source), &mut files)?;
    }
    files.sort();
    let mut sums = Command::new("sha256sum");
    sums.current_dir(&workspace.root).arg(lote);
    for file in &files {
        sums.arg(workspace.relative(file));
    }
    command::capture(&mut sums)
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let entries = fs::read_dir(directory).map_err(Error::file("read", directory))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_none_or(|extension| extension != "md") {
            files.push(path);
        }
    }
    Ok(())
}

/// Whether the image there was built from them.
pub(super) fn are(output: &Path, wanted: &str) -> bool {
    fs::read_to_string(output.join(FILE)).is_ok_and(|found| found == wanted)
}

/// Before a build: what it leaves if it is interrupted is no image.
pub(super) fn forget(output: &Path) -> Result<(), Error> {
    let file = output.join(FILE);
    match fs::remove_file(&file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", file)(error))
        }
        _ => Ok(()),
    }
}

/// After a build.
pub(super) fn remember(output: &Path, built_from: &str) -> Result<(), Error> {
    let file = output.join(FILE);
    fs::write(&file, built_from).map_err(Error::file("write", &file))
}
