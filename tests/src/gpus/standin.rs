//! Character devices that lead to no GPU: the kernel's virtual consoles.
//!
//! They are sixty with numbers of their own, can be opened by anybody whom the mode of the file and
//! the devices controller let, also by way of a file that was made elsewhere (which pseudo-terminals
//! cannot), and do nothing. Whoever opens one should say `O_NOCTTY`.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::wait_for;

/// The major number of virtual consoles.
const CONSOLES: u64 = 4;

/// The numbers that are used: not the first, which may be the machine's own.
const NUMBERS: std::ops::RangeInclusive<u64> = 2..=63;

/// Where it is noted which are used, by this and other test programs.
const CLAIMS: &str = "/run/lote-test-devices";

/// How long to wait for other tests to end.
const WAIT_MAX: Duration = Duration::from_mins(5);

/// Numbers without a driver: opening one fails with ENXIO, and with EPERM if it is forbidden, which
/// tells the two apart as well.
pub const DRIVERLESS: u64 = 195;

/// Held while claiming, so that two tests that want many do not each get half of them.
static CLAIMING: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);

/// A device that nobody else uses, until it is dropped.
#[derive(Debug)]
pub struct StandIn {
    number: u64,
    _claim: Flock<File>,
}

impl StandIn {
    /// So many that are free; waits for them.
    pub fn claim(count: usize) -> Vec<Self> {
        fs::create_dir_all(CLAIMS).expect("a folder of claims, as root");
        let _one_at_a_time = CLAIMING.lock().unwrap_or_else(PoisonError::into_inner);
        wait_for("devices that no other test uses", WAIT_MAX, || {
            let free: Vec<Self> = NUMBERS.filter_map(Self::try_claim).take(count).collect();
            (free.len() == count).then_some(free)
        })
    }

    fn try_claim(number: u64) -> Option<Self> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(Path::new(CLAIMS).join(number.to_string()))
            .expect("a file of claims");
        let claim = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
        Some(Self {
            number,
            _claim: claim,
        })
    }

    /// Makes a file that leads to it, for everybody.
    pub fn make(&self, path: &Path) {
        device_file(path, CONSOLES, self.number);
    }
}

/// Makes a device file for everybody.
pub fn device_file(path: &Path, major: u64, minor: u64) {
    let mode = Mode::from_bits_truncate(0o666);
    mknod(path, SFlag::S_IFCHR, mode, makedev(major, minor)).expect("a device file, as root");
    // Whatever the umask says.
    fs::set_permissions(path, Permissions::from_mode(0o666)).expect("its mode");
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt as _;

    use super::*;

    fn open(path: &Path) -> std::io::Result<File> {
        let mut options = File::options();
        options.read(true).write(true);
        options.custom_flags(nix::libc::O_NOCTTY).open(path)
    }

    #[test]
    fn a_stand_in_can_be_opened_and_one_without_a_driver_says_so() {
        if !nix::unistd::geteuid().is_root() {
            println!("SKIPPED: a_stand_in_can_be_opened: needs root");
            return;
        }
        let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
        let claimed = StandIn::claim(2);
        assert_ne!(claimed[0].number, claimed[1].number);
        for (index, device) in claimed.iter().enumerate() {
            let path = folder.path().join(index.to_string());
            device.make(&path);
            open(&path).expect("it opens");
        }
        let path = folder.path().join("driverless");
        device_file(&path, DRIVERLESS, 255);
        let error = open(&path).expect_err("there is no driver");
        assert_eq!(error.raw_os_error(), Some(nix::libc::ENXIO));
    }
}
