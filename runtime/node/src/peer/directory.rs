//! What a job sees of remote starts: the program and the daemon's socket, in a directory that
//! belongs to root.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use lote_model::node::{Capability, REMOTE_START};
use lote_rsh::{PROGRAM, PROGRAM_NAME};

use crate::directories;

/// The directories of all jobs, in the data directory; and the program.
pub(crate) const PEERS: &str = "peer";

/// Puts the program where jobs get it from. Jobs that have an older one keep that.
pub(crate) fn install(data_directory: &Path) -> io::Result<()> {
    let peers = data_directory.join(PEERS);
    directories::with_mode(&peers, 0o700)?;
    let program = peers.join(PROGRAM_NAME);
    if fs::read(&program).is_ok_and(|found| found == PROGRAM) {
        return Ok(());
    }
    let draft = peers.join(format!("{PROGRAM_NAME}.new"));
    fs::write(&draft, PROGRAM)?;
    fs::set_permissions(&draft, Permissions::from_mode(0o755))?;
    fs::rename(draft, program)
}

/// Makes the directory of an attempt of a job, or completes one that an earlier daemon made.
pub(crate) fn make(directory: &Path) -> io::Result<()> {
    directories::with_mode(directory, 0o755)?;
    let Some(peers) = directory.parent() else {
        return Ok(());
    };
    let (program, own) = (peers.join(PROGRAM_NAME), directory.join(PROGRAM_NAME));
    let is_same = |found: fs::Metadata| {
        fs::metadata(&program).is_ok_and(|current| current.ino() == found.ino())
    };
    if fs::symlink_metadata(&own).is_ok_and(is_same) {
        return Ok(());
    }
    // One of an earlier version of the daemon speaks as that did.
    let draft = directory.join(format!("{PROGRAM_NAME}.new"));
    fs::remove_file(&draft).ok();
    fs::hard_link(&program, &draft)?;
    fs::rename(draft, own)
}

/// Whether processes here can be started from other nodes, and start others there.
pub(crate) fn offers(is_isolated: bool, reaches_others: bool) -> bool {
    is_isolated && reaches_others
}

/// What a node says of remote starts. `reaches_others` is whether its daemon has a door for other
/// daemons, without which there are no gangs.
pub(crate) fn capability(is_isolated: bool, reaches_others: bool) -> Capability {
    let note = match (is_isolated, reaches_others) {
        (true, true) => {
            "processes of a gang start others on its nodes through the daemons, inside the job"
        }
        (false, _) => {
            "needs isolation: without control groups nobody knows which process is the job's"
        }
        (true, false) => "this machine is alone: its daemon keeps its store for itself",
    };
    Capability {
        name: REMOTE_START.into(),
        in_force: offers(is_isolated, reaches_others),
        note: note.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_there_and_runs() {
        let data = tempfile::tempdir().unwrap();
        install(data.path()).unwrap();
        install(data.path()).unwrap();
        let directory = data.path().join(PEERS).join("u1.1");
        make(&directory).unwrap();
        make(&directory).unwrap();
        let program = directory.join(PROGRAM_NAME);
        let output = std::process::Command::new(&program).output().unwrap();
        assert_eq!(output.status.code(), Some(255));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("lote-rsh: usage:"), "{said}");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&program), mode(&directory)), (0o755, 0o755));
        assert_eq!(mode(directory.parent().unwrap()), 0o700);
        directories::remove(&directory).unwrap();
        directories::remove(&directory).unwrap();
    }
}
