//! File systems on the disks that the operator set aside.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lote_model::id::FileServerUid;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::disk_plan::{self, BLKID, Contents, MDADM, MKFS, Refusal, Step, WIPEFS};
use super::ledger::{DiskEntry, Entry};
use super::mount_table;
use super::tool::ToolError;
use crate::directories::{PathError, cannot};

/// The directory of the users' files on a disk: not its root, where ext4 keeps `lost+found`.
const FILES: &str = "files";

/// How long a look at a disk may take.
const LOOK_LIMIT: Duration = Duration::from_secs(30);

/// How long a file system may take to be made.
const MAKE_LIMIT: Duration = Duration::from_mins(10);

/// An export cannot have these disks.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiskError {
    #[error("a file server on disks needs at least one")]
    None,
    #[error("{} is not among the disks that the operator of this node set aside (--export-disk)", device.display())]
    NotAllowed { device: PathBuf },
    #[error("{} is no block device", device.display())]
    NotBlock { device: PathBuf },
    #[error("{} is mounted at {}; unmount it first", device.display(), target.display())]
    Mounted { device: PathBuf, target: PathBuf },
    #[error(
        "{} holds {kind}; ask for it to be erased, or wipe it (wipefs --all)",
        device.display()
    )]
    InUse { device: PathBuf, kind: String },
    #[error(
        "{} held the files of this file server and holds {kind} now; it stays untouched",
        device.display()
    )]
    Replaced { device: PathBuf, kind: String },
    #[error(
        "the file system of this file server is not on {} any more; it stays untouched",
        device.display()
    )]
    Lost { device: PathBuf },
    #[error("its file system, {uuid}, is on no disk of this node")]
    Missing { uuid: String },
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("cannot {action}")]
    Tool {
        action: &'static str,
        #[source]
        source: ToolError,
    },
}

impl DiskError {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::None | Self::NotAllowed { .. } | Self::NotBlock { .. } => "DiskNotAllowed",
            Self::Mounted { .. } | Self::InUse { .. } => "DiskInUse",
            Self::Replaced { .. } | Self::Lost { .. } | Self::Missing { .. } => "DiskLost",
            Self::Path(_) | Self::Tool { .. } => "DiskFailed",
        }
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    cannot(action, path)
}

fn tool_error(action: &'static str) -> impl FnOnce(ToolError) -> DiskError {
    move |source| DiskError::Tool { action, source }
}

/// The disks of one export.
#[derive(Clone, Debug)]
pub(super) struct Disks {
    /// The operator's.
    allowed: Vec<PathBuf>,
    /// Where this export's are mounted.
    target: PathBuf,
}

impl Disks {
    pub(super) fn new(allowed: &[PathBuf], parent: &Path, uid: &FileServerUid) -> Self {
        Self {
            allowed: allowed.to_vec(),
            target: parent.join(uid.as_str()),
        }
    }

    /// Where the users' files are once it is mounted.
    pub(super) fn files(&self) -> PathBuf {
        self.target.join(FILES)
    }

    /// Whether it is mounted.
    pub(super) fn is_mounted(&self) -> Result<bool, DiskError> {
        let mounts = mount_table::read().map_err(io_error("read", &self.target))?;
        Ok(mount_table::find(&mounts, &self.target).is_some())
    }

    /// Chooses the UUID of a file system that is to be made.
    pub(super) fn new_entry() -> Result<DiskEntry, DiskError> {
        let source = Path::new("/proc/sys/kernel/random/uuid");
        let uuid = std::fs::read_to_string(source).map_err(io_error("read", source))?;
        Ok(DiskEntry {
            uuid: uuid.trim().to_owned(),
            is_formatted: false,
        })
    }

    /// Mounts the file system of an export, which is made first if it never was. Whether it is
    /// made is decided by what was remembered before: `entry` must have been saved.
    pub(super) async fn mount(
        &self,
        wanted: &[PathBuf],
        may_erase: bool,
        size_limit_bytes: u64,
        entry: &Entry,
        remembered: &DiskEntry,
    ) -> Result<(), DiskError> {
        let disks = self.checked(wanted)?;
        let device = self
            .device(&disks, may_erase, entry.number, remembered)
            .await?;
        let found = look(&device).await?;
        match disk_plan::decide(remembered, &found, may_erase) {
            Ok(Step::Mount) => {}
            Ok(Step::Format { wipe }) => {
                if wipe {
                    self.wipe(std::slice::from_ref(&device)).await?;
                }
                let device_bytes = size(&device)?;
                let bytes = disk_plan::file_system_size(size_limit_bytes, device_bytes);
                let arguments = disk_plan::mkfs(&device, &remembered.uuid, bytes);
                let made = MKFS.run(&arguments, MAKE_LIMIT).await;
                made.map_err(tool_error("make a file system"))?;
            }
            Err(refusal) => return Err(refused(device, refusal)),
        }
        self.attach(&device)
    }

    /// The operator's devices behind the names that were asked for.
    fn checked(&self, wanted: &[PathBuf]) -> Result<Vec<PathBuf>, DiskError> {
        if wanted.is_empty() {
            return Err(DiskError::None);
        }
        let allowed = self.allowed.iter();
        let allowed: Vec<PathBuf> = allowed
            .filter_map(|path| std::fs::canonicalize(path).ok())
            .collect();
        let mounts = mount_table::read().map_err(io_error("read", &self.target))?;
        let check = |path: &PathBuf| {
            let device = path.clone();
            let found = std::fs::canonicalize(path).ok();
            let found = found.filter(|found| allowed.contains(found));
            let Some(found) = found else {
                return Err(DiskError::NotAllowed { device });
            };
            let metadata = std::fs::metadata(&found).map_err(io_error("look at", &found))?;
            if !metadata.file_type().is_block_device() {
                return Err(DiskError::NotBlock { device });
            }
            let number = metadata.rdev();
            let number = format!(
                "{}:{}",
                rustix::fs::major(number),
                rustix::fs::minor(number)
            );
            match mounts.iter().find(|mount| mount.device == number) {
                Some(mount) => Err(DiskError::Mounted {
                    device,
                    target: mount.target.clone(),
                }),
                None => Ok(found),
            }
        };
        wanted.iter().map(check).collect()
    }

    /// The device of the file system: the only disk, or the array of several.
    async fn device(
        &self,
        disks: &[PathBuf],
        may_erase: bool,
        number: u16,
        remembered: &DiskEntry,
    ) -> Result<PathBuf, DiskError> {
        if let [only] = disks {
            return Ok(only.clone());
        }
        let array = disk_plan::array(number);
        if array.exists() {
            return Ok(array);
        }
        if remembered.is_formatted {
            let arguments = disk_plan::assemble_array(&array, disks);
            let assembled = MDADM.run(&arguments, LOOK_LIMIT).await;
            assembled.map_err(tool_error("put the disks together again"))?;
            return Ok(array);
        }
        for disk in disks {
            match look(disk).await? {
                Contents::Something { kind, .. } if !may_erase => {
                    let device = disk.clone();
                    return Err(DiskError::InUse { device, kind });
                }
                _ => {}
            }
        }
        self.wipe(disks).await?;
        let arguments = disk_plan::create_array(&array, disks);
        let created = MDADM.run(&arguments, LOOK_LIMIT).await;
        created.map_err(tool_error("put the disks together"))?;
        Ok(array)
    }

    async fn wipe(&self, devices: &[PathBuf]) -> Result<(), DiskError> {
        let arguments = disk_plan::wipefs(devices);
        let wiped = WIPEFS.run(&arguments, LOOK_LIMIT).await;
        wiped.map(drop).map_err(tool_error("wipe the disk"))
    }

    /// Mounts the file system on a device.
    pub(super) fn attach(&self, device: &Path) -> Result<(), DiskError> {
        make_passable(&self.target).map_err(io_error("make", &self.target))?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount(device, &self.target, "ext4", flags, None)
            .map_err(|errno| io_error("mount", device)(errno.into()))
    }

    /// Unmounts it; what is busy goes when it is no more.
    pub(super) fn unmount(&self) -> Result<(), DiskError> {
        if !self.is_mounted()? {
            return Ok(());
        }
        let failed = |errno: rustix::io::Errno| io_error("unmount", &self.target)(errno.into());
        match unmount(&self.target, UnmountFlags::NOFOLLOW) {
            Err(rustix::io::Errno::BUSY) => {
                tracing::warn!(path = %self.target.display(), "a disk is busy; unmounting it lazily");
                unmount(&self.target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
                    .map_err(failed)?;
            }
            result => result.map_err(failed)?,
        }
        std::fs::remove_dir(&self.target).map_err(io_error("remove", &self.target))
    }

    /// Wipes the file system of an export that is not mounted any more. Only what is known to be
    /// the export's own.
    pub(super) async fn erase(
        &self,
        wanted: &[PathBuf],
        number: u16,
        remembered: &DiskEntry,
    ) -> Result<(), DiskError> {
        let disks = self.checked(wanted)?;
        let array = disk_plan::array(number);
        let device = match disks.as_slice() {
            [only] => only.clone(),
            _ => array.clone(),
        };
        match look(&device).await? {
            Contents::Something {
                uuid: Some(uuid), ..
            } if uuid == remembered.uuid => {}
            _ => return Ok(()),
        }
        self.wipe(std::slice::from_ref(&device)).await?;
        if disks.len() > 1 {
            self.release(number).await?;
            self.wipe(&disks).await?;
        }
        Ok(())
    }

    /// Lets go of an array, if there is one.
    pub(super) async fn release(&self, number: u16) -> Result<(), DiskError> {
        let array = disk_plan::array(number);
        if !array.exists() {
            return Ok(());
        }
        let stopped = MDADM.run(&disk_plan::stop_array(&array), LOOK_LIMIT).await;
        stopped.map(drop).map_err(tool_error("let go of the disks"))
    }
}

/// Users pass through it, and nobody lists it.
fn make_passable(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o711).create(path)
}

fn refused(device: PathBuf, refusal: Refusal) -> DiskError {
    match refusal {
        Refusal::InUse(kind) => DiskError::InUse { device, kind },
        Refusal::Replaced(kind) => DiskError::Replaced { device, kind },
        Refusal::Lost => DiskError::Lost { device },
    }
}

/// What is on a device.
async fn look(device: &Path) -> Result<Contents, DiskError> {
    let output = BLKID.output(&disk_plan::blkid(device), LOOK_LIMIT).await;
    let output = output.map_err(tool_error("look at a disk"))?;
    Ok(disk_plan::contents(output.status.code(), &output.printed))
}

/// The size of a block device.
fn size(device: &Path) -> Result<u64, DiskError> {
    File::open(device)
        .and_then(|mut file| file.seek(SeekFrom::End(0)))
        .map_err(io_error("measure", device))
}
