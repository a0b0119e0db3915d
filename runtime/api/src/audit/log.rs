//! The file of the audit log: a thread that appends, and rotates by size.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use tokio::sync::{mpsc, oneshot};

/// How many orders wait for the thread before requests wait as well.
const QUEUE: usize = 1_024;

/// Room that is held on the disk for lines to come, so that a change which was
/// let through finds room for its line. Far more than all requests at once need.
const HEADROOM_BYTES: u64 = 1 << 20;

/// When a file has grown enough, and how many old ones are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The size at which a new file is begun.
    pub bytes: u64,
    /// How many old files are kept beside the current one.
    pub kept: u32,
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            kept: 10,
        }
    }
}

/// What lines are written to.
pub trait AuditSink: Send {
    /// Sees to it that the next lines find room.
    fn make_room(&mut self) -> io::Result<()>;
    /// Appends one line as a whole, or nothing.
    fn append(&mut self, line: &[u8]) -> io::Result<()>;
}

/// The way to the thread that writes; clones lead to the same one.
#[derive(Clone, Debug)]
pub struct AuditLog {
    orders: mpsc::Sender<Order>,
    has_room: Arc<AtomicBool>,
}

enum Order {
    MakeRoom(oneshot::Sender<io::Result<()>>),
    Append(Vec<u8>, oneshot::Sender<io::Result<()>>),
}

impl AuditLog {
    /// Opens the file, or makes it, for its owner alone.
    pub fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        Self::to(Box::new(LogFile::open(path, rotation)?))
    }

    /// Writes to anything.
    pub fn to(sink: Box<dyn AuditSink>) -> io::Result<Self> {
        let (orders, waiting) = mpsc::channel(QUEUE);
        let has_room = Arc::new(AtomicBool::new(false));
        let told = has_room.clone();
        std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || serve(sink, waiting, &told))?;
        Ok(Self { orders, has_room })
    }

    /// Fails if the next line would find no room.
    pub(super) async fn make_room(&self) -> io::Result<()> {
        if self.has_room.load(Ordering::Acquire) {
            return Ok(());
        }
        self.order(Order::MakeRoom).await
    }

    /// Writes one line; done when the system has it.
    pub(super) async fn write(&self, line: Vec<u8>) -> io::Result<()> {
        self.order(|done| Order::Append(line, done)).await
    }

    async fn order(
        &self,
        order: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Order,
    ) -> io::Result<()> {
        let gone = || io::Error::other("the thread of the audit log has ended");
        let (done, answer) = oneshot::channel();
        let sent = self.orders.send(order(done)).await;
        sent.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// Carries out orders until every way to this thread is gone.
fn serve(mut sink: Box<dyn AuditSink>, mut orders: mpsc::Receiver<Order>, has_room: &AtomicBool) {
    while let Some(order) = orders.blocking_recv() {
        let (result, done) = match order {
            Order::MakeRoom(done) => (sink.make_room(), done),
            Order::Append(line, done) => (sink.append(&line), done),
        };
        // After every line, so that nobody has to wait for it before the next.
        let room = result.is_ok() && sink.make_room().is_ok();
        has_room.store(room, Ordering::Release);
        // Whoever asked may have gone away.
        let _ = done.send(result);
    }
}

/// A file that is begun anew when it has grown enough.
struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    length: u64,
    /// Up to here the disk has room.
    reserved: u64,
}

impl LogFile {
    fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let length = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            rotation,
            file,
            length,
            reserved: 0,
        })
    }

    /// `audit.log.1` is the newest of the old ones.
    fn old(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    fn rotate(&mut self) -> io::Result<()> {
        // Gives back the room behind the end.
        self.file.set_len(self.length)?;
        for number in (1..self.rotation.kept).rev() {
            rename_if_there(&self.old(number), &self.old(number + 1))?;
        }
        if self.rotation.kept == 0 {
            std::fs::remove_file(&self.path)?;
        } else {
            rename_if_there(&self.path, &self.old(1))?;
        }
        *self = Self::open(&self.path, self.rotation)?;
        Ok(())
    }
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl AuditSink for LogFile {
    fn make_room(&mut self) -> io::Result<()> {
        if self.reserved >= self.length + HEADROOM_BYTES / 2 {
            return Ok(());
        }
        let offset = i64::try_from(self.length).map_err(io::Error::other)?;
        let bytes = i64::try_from(HEADROOM_BYTES).map_err(io::Error::other)?;
        let flags = FallocateFlags::FALLOC_FL_KEEP_SIZE;
        match fallocate(&self.file, flags, offset, bytes) {
            // A file system that cannot hold room: the write will tell.
            Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {
                self.reserved = self.length + HEADROOM_BYTES;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let length = self.length + line.len() as u64;
        if self.length > 0 && length > self.rotation.bytes {
            self.rotate()?;
        }
        if let Err(error) = self.file.write_all(line) {
            // Half a line would spoil the next one.
            let _ = self.file.set_len(self.length);
            self.reserved = 0;
            return Err(error);
        }
        self.length += line.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn lines(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn lines_are_appended_across_starts_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        for number in 0..3 {
            let log = AuditLog::open(&path, Rotation::default()).unwrap();
            log.make_room().await.unwrap();
            log.write(format!("{number}\n").into_bytes()).await.unwrap();
        }
        assert_eq!(lines(&path), ["0", "1", "2"]);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn old_files_are_kept_up_to_a_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let rotation = Rotation { bytes: 8, kept: 2 };
        let mut file = LogFile::open(&path, rotation).unwrap();
        for line in ["a234567\n", "b\n", "c\n", "d234567\n", "e234567\n"] {
            file.make_room().unwrap();
            file.append(line.as_bytes()).unwrap();
        }
        assert_eq!(lines(&path), ["e234567"]);
        assert_eq!(lines(&folder.path().join("audit.log.1")), ["d234567"]);
        assert_eq!(lines(&folder.path().join("audit.log.2")), ["b", "c"]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn room_is_held_without_showing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut file = LogFile::open(&path, Rotation::default()).unwrap();
        file.make_room().unwrap();
        file.append(b"line\n").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 5);
    }

    #[test]
    fn a_line_that_is_too_long_for_a_file_is_still_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut file = LogFile::open(&path, Rotation { bytes: 1, kept: 0 }).unwrap();
        file.append(b"one\n").unwrap();
        file.append(b"two\n").unwrap();
        assert_eq!(lines(&path), ["two"]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
