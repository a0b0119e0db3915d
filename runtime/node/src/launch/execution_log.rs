//! The launcher's own log of a job, which lies with the job's output.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;

use super::handed_over::open_handed_over;
use crate::isolation::{FsIdentity, Identity};

/// Where a job's log is, and with whose rights it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExecutionLog<'a> {
    pub(crate) path: &'a Path,
    /// Whether it lies in a directory of the daemon's own.
    pub(crate) spooled: bool,
    pub(crate) identity: Option<Identity>,
    pub(crate) umask: u32,
}

impl ExecutionLog<'_> {
    /// Adds a line with the time.
    pub(crate) fn add(&self, message: &str) -> io::Result<()> {
        let line = format!("{:.3} {message}\n", Timestamp::now());
        self.open()?.write_all(line.as_bytes())
    }

    fn open(&self) -> io::Result<File> {
        if self.spooled {
            return open_handed_over(self.path, self.identity);
        }
        let _rights = FsIdentity::assume_if(self.identity)?;
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o666 & !self.umask);
        // Were it a pipe of the job's, opening it would wait for ever.
        options.custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY);
        options.open(self.path)
    }
}
