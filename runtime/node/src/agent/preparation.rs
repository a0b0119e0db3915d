//! Directories, files and the control group of a job on this node.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use lote_model::environment::{JobPaths, USER_NAME, host_file};
use lote_model::id::UnixId;
use lote_model::plan::PlanFile;

use super::container::open_to_all;
use super::host_names::gang_hosts;
use super::process_spec::{HOST_NAMES, JobContext, SHARED_MEMORY, VAR_TMP};
use super::{AgentError, NodeConfig};
use crate::directories;
use crate::isolation::{FsIdentity, Identity};
use crate::mount::detach_below;
use crate::spool::spools;

/// A directory or file of a job could not be made or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {source}")]
pub(super) struct PreparationError {
    pub(super) action: &'static str,
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
}

type Prepared = Result<(), PreparationError>;

fn failed(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> PreparationError {
    let path = path.into();
    move |source| PreparationError {
        action,
        path,
        source,
    }
}

/// The daemon's own directories. `work` and what leads to it can be passed
/// through by jobs, but not listed; the rest is closed to them.
pub(super) fn node_directories(config: &NodeConfig) -> Result<(), AgentError> {
    let data = &config.data_directory;
    let users = data.join("work/users");
    // The owner of output that waits may read it.
    let open = [data.clone(), data.join("work"), users, spools(data)].map(|path| (path, 0o711));
    let closed = [data.join("run"), data.join("identity")].map(|path| (path, 0o700));
    for (path, mode) in open.into_iter().chain(closed) {
        directory(&path, mode).map_err(|error| AgentError::Directory {
            action: error.action,
            path: error.path,
            source: error.source,
        })?;
    }
    Ok(())
}

fn directory(path: &Path, mode: u32) -> Prepared {
    directories::with_mode(path, mode).map_err(failed("make", path))
}

/// The directory of an attempt's run records; nobody else may look into it.
pub(super) fn record_directory(path: &Path) -> Prepared {
    directory(path, 0o700)
}

/// Everything the processes of a job find when they start. Blocks; doing it
/// again changes nothing.
///
/// The directories above the job's own belong to root, so that no job can bend
/// the path; below it everything is done with the rights of the job's user.
pub(super) fn job_directories(job: &JobContext) -> Prepared {
    let JobPaths {
        user_root,
        jobs_root,
        mount_root,
        job_root,
        ..
    } = &job.paths;
    let mounts = Path::new(mount_root)
        .parent()
        .unwrap_or(Path::new(user_root));
    for path in [Path::new(user_root), Path::new(jobs_root), mounts] {
        passage(path, job.identity)?;
    }
    for path in [mount_root, job_root] {
        owned(Path::new(path), job.identity)?;
    }
    let root = Path::new(job_root);
    {
        let _rights = rights(job.identity, root)?;
        for path in [
            &job.paths.scratch,
            &job.paths.job_mount_root,
            &job.paths.shared,
            &job.paths.private_tmp,
        ] {
            directory(Path::new(path), 0o700)?;
        }
        for tree in job.layout.trees() {
            // As the user: where it has planted a link, nothing is made that it could not make.
            let path = tree.base.join(tree.relative);
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(failed("create", path))?;
        }
        if job.peer_directory.is_some() {
            directory(Path::new(&job.paths.peer), 0o700)?;
        }
        let hosts = host_file(&job.plan, &job.allocation.grant);
        write(Path::new(&job.paths.host_file), &hosts, 0o600)?;
        let shared_memory = job.shares_memory().then_some(SHARED_MEMORY);
        for name in std::iter::once(VAR_TMP).chain(shared_memory) {
            directory(&root.join(name), 0o700)?;
        }
        if job.identity.is_some() && job.knows_others() {
            host_names(job, &root.join(HOST_NAMES))?;
        }
        if job.is_contained() {
            for path in [Path::new(&job.paths.private_tmp), &root.join(VAR_TMP)] {
                open_to_all(path).map_err(failed("open to all", path))?;
            }
        }
        for file in &job.plan.launch.files {
            write_file(Path::new(&job.paths.scratch), file)?;
        }
    }
    if let Some(peer) = &job.peer_directory {
        crate::peer::make(peer).map_err(failed("make", peer))?;
    }
    if let Some(identity) = job.identity {
        identity_files(&job.identity_directory, job.plan.unix_id)?;
        if job.shares_memory() {
            shared_memory(job, identity)?;
        }
    }
    Ok(())
}

/// A directory that the user may pass through, and nobody else.
fn passage(path: &Path, identity: Option<Identity>) -> Prepared {
    belonging(path, 0o710, identity.map(|Identity { gid, .. }| (0, gid)))
}

/// A directory that belongs to the user. Its parent belongs to root.
fn owned(path: &Path, identity: Option<Identity>) -> Prepared {
    belonging(
        path,
        0o700,
        identity.map(|Identity { uid, gid }| (uid, gid)),
    )
}

/// Makes a directory with this mode and owner. One that exists is given them too:
/// a daemon that was killed may have made it and not handed it over yet.
fn belonging(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> Prepared {
    let is_right = |found: &fs::Metadata| {
        let right_owner = owner.is_none_or(|owner| owner == (found.uid(), found.gid()));
        found.is_dir() && found.mode() & 0o777 == mode && right_owner
    };
    if fs::symlink_metadata(path).is_ok_and(|found| is_right(&found)) {
        return Ok(());
    }
    directory(path, mode)?;
    match owner {
        Some((uid, gid)) => chown(path, Some(uid), Some(gid)).map_err(failed("hand over", path)),
        None => Ok(()),
    }
}

fn rights(identity: Option<Identity>, path: &Path) -> Result<Option<FsIdentity>, PreparationError> {
    FsIdentity::assume_if(identity).map_err(failed("become the owner of", path))
}

/// Plan files are checked: relative, without `..`.
fn write_file(scratch: &Path, file: &PlanFile) -> Prepared {
    let path = scratch.join(&file.path);
    if let Some(parent) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(failed("create", parent))?;
    }
    let mode = if file.executable { 0o700 } else { 0o600 };
    write(&path, &file.contents, mode)
}

fn write(path: &Path, contents: &str, mode: u32) -> Prepared {
    let written = || -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut handle = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(path)?;
        io::Write::write_all(&mut handle, contents.as_bytes())
    };
    written().map_err(failed("write", path))
}

/// The names of the gang's nodes, beside those that the machine knows.
fn host_names(job: &JobContext, path: &Path) -> Prepared {
    let machine = Path::new("/etc/hosts");
    let known = fs::read_to_string(machine).map_err(failed("read", machine))?;
    let host_name = nix::unistd::gethostname().ok();
    let host_name = host_name.and_then(|name| name.into_string().ok());
    let text = gang_hosts(
        &known,
        host_name.as_deref().unwrap_or_default(),
        &job.plan.gang,
        job.plan.rank,
    );
    write(path, &text, 0o644)
}

/// Programs look up their user's name and home; a job's user has no entry in
/// the machine's own files, so the job sees copies with one.
fn identity_files(directory: &Path, unix_id: UnixId) -> Prepared {
    let id = unix_id.0;
    let lines = [
        (
            "passwd",
            format!("{USER_NAME}:x:{id}:{id}:Lote job:/tmp:/bin/bash\n"),
        ),
        ("group", format!("{USER_NAME}:x:{id}:\n")),
    ];
    for (name, line) in lines {
        let path = directory.join(format!("{id}.{name}"));
        if path.exists() {
            continue;
        }
        let host = Path::new("/etc").join(name);
        let mut text = fs::read_to_string(&host).map_err(failed("read", &host))?;
        text.push_str(&line);
        // Under another name first: a job must never see half of it.
        let draft = directory.join(format!("{id}.{name}.{:?}.new", std::thread::current().id()));
        let written = fs::write(&draft, text).and_then(|()| appear(&draft, &path));
        written.map_err(failed("write", &path))?;
    }
    Ok(())
}

/// Gives a complete file its name, unless another has it already: one that jobs
/// are just being shown must not be replaced, or the mount of it fails.
fn appear(draft: &Path, path: &Path) -> io::Result<()> {
    let linked = match fs::hard_link(draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    };
    fs::remove_file(draft)?;
    linked
}

/// Memory that all processes of the job on this node share as `/dev/shm`.
fn shared_memory(job: &JobContext, identity: Identity) -> Prepared {
    use nix::mount::{MsFlags, mount};
    let path = Path::new(&job.paths.job_root).join(SHARED_MEMORY);
    if is_mount_point(&path) {
        return Ok(());
    }
    // In a container there are other users than that of the job.
    let mode = if job.is_contained() { "1777" } else { "0700" };
    let options = format!(
        "mode={mode},uid={},gid={},size={}",
        identity.uid,
        identity.gid,
        job.shared_memory_bytes()
    );
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("lote"),
        &path,
        Some("tmpfs"),
        flags,
        Some(options.as_str()),
    )
    .map_err(|error| failed("mount shared memory at", &path)(error.into()))
}

/// A mount point lies on another device than its parent.
fn is_mount_point(path: &Path) -> bool {
    let device = |path: &Path| {
        fs::symlink_metadata(path)
            .map(|metadata| metadata.dev())
            .ok()
    };
    device(path).is_some_and(|own| Some(own) != path.parent().and_then(device))
}

/// Removes the job's own directory. Blocks; removing nothing is no error. What is mounted below
/// it is unmounted and not removed; if it cannot be unmounted, nothing is removed.
///
/// With root's rights, because a job can take its own away; the removal follows
/// no symbolic link, and the way to the directory belongs to root.
pub(super) fn remove_job_directory(job_root: &Path, isolated: bool) -> Prepared {
    let shared_memory = job_root.join(SHARED_MEMORY);
    if isolated && is_mount_point(&shared_memory) {
        let unmounted = nix::mount::umount2(&shared_memory, nix::mount::MntFlags::MNT_DETACH);
        unmounted.map_err(|error| failed("unmount", &shared_memory)(error.into()))?;
    }
    if isolated {
        detach_below(job_root).map_err(failed("unmount what is below", job_root))?;
    }
    remove_empty_directories(job_root);
    directories::remove(job_root).map_err(failed("remove", job_root))
}

/// Most directories of a job are empty at its end. Removing such a one takes one
/// call; finding out first that it is empty, as a general removal does, takes seven.
fn remove_empty_directories(job_root: &Path) {
    for entry in fs::read_dir(job_root).into_iter().flatten().flatten() {
        // What does not work is left to the general removal.
        fs::remove_dir(entry.path()).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::process_spec::tests::job;
    use super::*;

    fn mode(path: impl AsRef<Path>) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn work(data: &Path) {
        fs::create_dir_all(data.join("work/users")).unwrap();
        fs::create_dir_all(data.join("identity")).unwrap();
    }

    #[test]
    fn directories_and_files_are_made_once_and_again() {
        let data = tempfile::tempdir().unwrap();
        work(data.path());
        let job = job(data.path(), &["0"], None);
        job_directories(&job).unwrap();
        job_directories(&job).unwrap();
        let named = fs::read_to_string(&job.paths.host_file).unwrap();
        assert_eq!(named, "10.0.0.4 slots=1\n");
        let hosts = Path::new(&job.paths.scratch).join("etc/hosts.txt");
        assert_eq!(fs::read_to_string(&hosts).unwrap(), "10.0.0.4 slots=1\n");
        assert_eq!(
            (
                mode(&hosts),
                mode(&job.paths.job_root),
                mode(&job.paths.user_root)
            ),
            (0o600, 0o700, 0o710)
        );
    }

    #[test]
    fn a_directory_that_was_not_handed_over_yet_is_handed_over() {
        if !nix::unistd::geteuid().is_root() {
            println!(
                "SKIPPED: a_directory_that_was_not_handed_over_yet_is_handed_over: needs root"
            );
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job");
        let user = Identity {
            uid: 2_000_001,
            gid: 2_000_001,
        };
        for make in [passage, owned] {
            // As a daemon leaves it that is killed just after it made it.
            fs::create_dir_all(&path).unwrap();
            make(&path, Some(user)).unwrap();
            let found = fs::metadata(&path).unwrap();
            assert_eq!(found.gid(), user.gid);
        }
        assert_eq!(fs::metadata(&path).unwrap().uid(), user.uid);
    }

    #[test]
    fn removal_takes_what_the_job_closed_and_follows_no_link_out() {
        let data = tempfile::tempdir().unwrap();
        work(data.path());
        let outside = data.path().join("outside");
        fs::write(&outside, "stays").unwrap();
        let job = job(data.path(), &["0"], None);
        job_directories(&job).unwrap();
        let scratch = Path::new(&job.paths.scratch);
        std::os::unix::fs::symlink(data.path(), scratch.join("link")).unwrap();
        fs::create_dir(scratch.join("closed")).unwrap();
        let root = Path::new(&job.paths.job_root);
        remove_job_directory(root, false).unwrap();
        remove_job_directory(root, false).unwrap();
        assert!(!root.exists());
        assert_eq!(fs::read_to_string(outside).unwrap(), "stays");
    }

    #[test]
    fn a_job_finds_its_user_beside_those_of_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        identity_files(folder.path(), UnixId(2_000_007)).unwrap();
        let passwd = fs::read_to_string(folder.path().join("2000007.passwd")).unwrap();
        assert!(
            passwd.contains("root:") && passwd.contains("lote:x:2000007:2000007:"),
            "{passwd}"
        );
    }
}
