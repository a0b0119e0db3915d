//! The time by which every process of a node that is cut off must be gone.
//!
//! The daemon writes the time into a small file, later and later as long as the cluster counts
//! on the node. Each shim sleeps until the time that it read last, reads again, and kills its
//! process once the time has passed: also when the daemon is dead or stands still.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{SigEvent, SigevNotify, Signal};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};

use super::record::boot_id;

/// Wakes a shim to look at the file. No program sends it to a shim.
pub(super) const WAKE_UP: Signal = Signal::SIGVTALRM;

/// A reader can meet the daemon half-way through a write; at the next look it is done.
const READ_TRIES: u32 = 100;

/// The time since the machine was started, sleep included.
pub fn boot_time() -> Duration {
    // Linux has had this clock for ever. Without it nothing would be known to be in time.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::MAX, Duration::from)
}

/// The daemon's side of the file.
#[derive(Debug)]
pub struct FenceFile {
    file: File,
}

impl FenceFile {
    /// Makes the file, or replaces one that an earlier daemon left.
    pub fn create(path: &Path, until: Duration) -> io::Result<Self> {
        let draft = path.with_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&draft)?;
        file.write_all(line(until).as_bytes())?;
        std::fs::rename(&draft, path)?;
        Ok(Self { file })
    }

    /// Writes another time. In place, because there is room for that on a full disk.
    pub fn write(&self, until: Duration) -> io::Result<()> {
        self.file.write_all_at(line(until).as_bytes(), 0)
    }
}

/// The time in the file, as long after the boot; none if there is no file, or it is of an
/// earlier boot.
pub fn fenced_at(path: &Path) -> io::Result<Option<Duration>> {
    for _ in 0..READ_TRIES {
        let mut text = String::new();
        match File::open(path).and_then(|mut file| file.read_to_string(&mut text)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        if let Some((boot, until)) = parse(&text) {
            return Ok((boot == boot_id()).then_some(until));
        }
        std::thread::yield_now();
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{} holds no time", path.display()),
    ))
}

/// The time stands there twice and always takes the same room, so half a write is noticed.
fn line(until: Duration) -> String {
    let millis = until.as_millis();
    format!("{} {millis:020} {millis:020}\n", boot_id())
}

fn parse(line: &str) -> Option<(&str, Duration)> {
    let (boot, times) = line.strip_suffix('\n')?.split_once(' ')?;
    let (once, twice) = times.split_once(' ')?;
    let millis = once.parse().ok().filter(|_| once == twice)?;
    Some((boot, Duration::from_millis(millis)))
}

/// A shim's side of the file.
#[derive(Debug)]
pub(super) struct Guard {
    file: PathBuf,
    /// The time that was read last.
    until: Duration,
    timer: Timer,
}

impl Guard {
    /// Looks at the file for the first time, and from then on whenever [`WAKE_UP`] arrives and
    /// [`has_passed`](Self::has_passed) is called.
    pub(super) fn new(file: &Path) -> io::Result<Self> {
        let notify = SigevNotify::SigevSignal {
            signal: WAKE_UP,
            si_value: 0,
        };
        Ok(Self {
            file: file.to_owned(),
            until: Duration::MAX,
            timer: Timer::new(ClockId::CLOCK_BOOTTIME, SigEvent::new(notify))?,
        })
    }

    /// Whether the time has passed; if not, [`WAKE_UP`] comes when it has.
    pub(super) fn has_passed(&mut self) -> bool {
        match fenced_at(&self.file) {
            Ok(Some(until)) => self.until = until,
            // Nothing fences this node any more.
            Ok(None) => return false,
            // What was read last is still true.
            Err(_) => {}
        }
        if boot_time() >= self.until {
            return true;
        }
        let at = Expiration::OneShot(self.until.into());
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME;
        // A shim that could not be woken in time must not let its process run.
        self.timer.set(at, flags).is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fence");
        assert_eq!(fenced_at(&path).unwrap(), None);
        let file = FenceFile::create(&path, Duration::from_millis(99)).unwrap();
        assert_eq!(fenced_at(&path).unwrap(), Some(Duration::from_millis(99)));
        file.write(Duration::from_secs(1_000_000)).unwrap();
        assert_eq!(
            fenced_at(&path).unwrap(),
            Some(Duration::from_secs(1_000_000))
        );
    }

    #[test]
    fn the_time_of_an_earlier_boot_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fence");
        let text = line(Duration::from_secs(5)).replace(boot_id(), "another-boot");
        std::fs::write(&path, text).unwrap();
        assert_eq!(fenced_at(&path).unwrap(), None);
    }

    #[test]
    fn half_a_write_is_no_time() {
        let old = line(Duration::from_millis(199_999));
        let new = line(Duration::from_millis(200_000));
        for cut in 1..new.len() {
            let torn = format!("{}{}", &new[..cut], &old[cut..]);
            let read = parse(&torn).map(|(_, until)| until.as_millis());
            assert!(matches!(read, None | Some(199_999 | 200_000)), "{torn}");
        }
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_file_without_a_time_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fence");
        std::fs::write(&path, "nonsense").unwrap();
        assert!(fenced_at(&path).is_err());
    }
}
