//! The disks of exports, mounted before the kernel's NFS server answers anybody.
//!
//! A client that asks for a file of an export that is not there yet is told that the file is gone; it
//! then gives up what it has not written. The daemon comes too late: it asks the store first.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lote_model::problem::explain;

use super::disk::{DiskError, Disks};
use super::ledger::{self, DiskEntry, Ledger};
use super::{disks_directory, server_directory};
use crate::directories::cannot;

/// The program's first argument for this; no command for people. The second is the data directory.
pub const MOUNT_EXPORTS_SUBCOMMAND: &str = "__mount-exports";

/// How long a disk may take to be found.
const FOUND_WITHIN: Duration = Duration::from_mins(1);

/// Between two looks at whether it is there.
const PAUSE: Duration = Duration::from_millis(200);

/// Mounts the disks of the exports in the ledger of a data directory. One that cannot be mounted is
/// told, and keeps no other from being served.
#[must_use]
pub fn mount_exports_main(arguments: &[OsString]) -> ExitCode {
    let [data] = arguments else {
        eprintln!("lote: give the data directory");
        return ExitCode::FAILURE;
    };
    let data = Path::new(data);
    let ledger = match Ledger::load(&server_directory(data).join(ledger::FILE)) {
        Ok(ledger) => ledger,
        Err(error) => {
            eprintln!("lote: {}", explain(&error));
            return ExitCode::FAILURE;
        }
    };
    let until = Instant::now() + FOUND_WITHIN;
    for uid in ledger.uids() {
        let disk = ledger.get(&uid).and_then(|entry| entry.disk.as_ref());
        let Some(disk) = disk.filter(|disk| disk.is_formatted) else {
            continue;
        };
        let disks = Disks::new(&[], &disks_directory(data), &uid);
        match mount(&disks, disk, until) {
            Ok(()) => println!("lote: the disks of file server {uid} are mounted"),
            Err(error) => eprintln!("lote: the file server {uid}: {}", explain(&error)),
        }
    }
    ExitCode::SUCCESS
}

fn mount(disks: &Disks, entry: &DiskEntry, until: Instant) -> Result<(), DiskError> {
    if disks.is_mounted()? {
        return Ok(());
    }
    loop {
        match by_uuid(entry)? {
            Some(device) => return disks.attach(&device),
            None if Instant::now() < until => std::thread::sleep(PAUSE),
            None => {
                return Err(DiskError::Missing {
                    uuid: entry.uuid.clone(),
                });
            }
        }
    }
}

/// The device of an export's file system, a disk or an array, if the system has found it.
fn by_uuid(entry: &DiskEntry) -> Result<Option<PathBuf>, DiskError> {
    let link = Path::new("/dev/disk/by-uuid").join(&entry.uuid);
    match std::fs::canonicalize(&link) {
        Ok(device) => Ok(Some(device)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot("look for", &link)(error)),
    }
}
