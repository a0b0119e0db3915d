//! Where what a job sees below its mount roots lies in the host's own view. Pure.
//!
//! A job finds its file systems at `AZ_BATCHAI_MOUNT_ROOT/REL` and `AZ_BATCHAI_JOB_MOUNT_ROOT/REL`,
//! but only its own mount namespace has them there. The host has them at
//! `{data}/mounts/{uid}.{attempt}/cluster/REL` and `…/job/REL`, where root alone gets to.

use std::path::{Path, PathBuf};

use lote_model::environment::JobPaths;
use lote_model::planned_mount::{MountRoot, PlannedMount, PlannedMounts};

/// The name of a root's directory in the host's view.
fn directory(root: MountRoot) -> &'static str {
    match root {
        MountRoot::Cluster => "cluster",
        MountRoot::Job => "job",
    }
}

/// Where the job sees it.
fn seen_root(root: MountRoot, paths: &JobPaths) -> &Path {
    Path::new(match root {
        MountRoot::Cluster => &paths.mount_root,
        MountRoot::Job => &paths.job_mount_root,
    })
}

/// A path that lies on one of a job's file systems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OnMount<'plan> {
    /// What is mounted.
    pub(crate) mount: &'plan PlannedMount,
    /// Where the host has it.
    pub(crate) mount_point: PathBuf,
    /// The path below that; empty for the mount point itself.
    pub(crate) below: PathBuf,
}

/// All mounts of one attempt of a job; `run` is `{uid}.{attempt}`.
pub(crate) fn mounts_of_run(data_directory: &Path, run: &str) -> PathBuf {
    data_directory.join("mounts").join(run)
}

/// Where the host has one of them.
pub(crate) fn mount_point(mounts_of_run: &Path, root: MountRoot, relative: &str) -> PathBuf {
    mounts_of_run.join(directory(root)).join(relative)
}

/// Finds the mount that a path of the job's view lies on: the innermost, where one is inside
/// another. `None` for a path on the machine's own disk.
pub(crate) fn find<'plan>(
    mounts: &'plan PlannedMounts,
    paths: &JobPaths,
    mounts_of_run: &Path,
    path: &Path,
) -> Option<OnMount<'plan>> {
    let of_root = |root: MountRoot, mounts: &'plan [PlannedMount]| {
        mounts.iter().map(move |mount| (root, mount))
    };
    of_root(MountRoot::Cluster, &mounts.cluster)
        .chain(of_root(MountRoot::Job, &mounts.job))
        .filter_map(|(root, mount)| {
            let seen = seen_root(root, paths).join(&mount.relative_path);
            let below = path.strip_prefix(&seen).ok()?.to_path_buf();
            let mount_point = mount_point(mounts_of_run, root, &mount.relative_path);
            Some(OnMount {
                mount,
                mount_point,
                below,
            })
        })
        .min_by_key(|found| found.below.components().count())
}

#[cfg(test)]
mod tests {
    use lote_model::planned_mount::MountSource;

    use super::*;

    fn paths() -> JobPaths {
        JobPaths {
            user_root: "/data/work/users/7".into(),
            mount_root: "/data/work/users/7/mounts/c".into(),
            jobs_root: "/data/work/users/7/jobs".into(),
            job_root: "/data/work/users/7/jobs/u".into(),
            job_mount_root: "/data/work/users/7/jobs/u/mounts".into(),
            scratch: String::new(),
            shared: String::new(),
            shared_scratch: None,
            host_file: String::new(),
            private_tmp: String::new(),
        }
    }

    fn mounts() -> PlannedMounts {
        let mount = |path: &str| PlannedMount {
            relative_path: path.into(),
            source: MountSource::Command(format!("mount {path}")),
        };
        PlannedMounts {
            cluster: vec![mount("nfs"), mount("nfs/inner")],
            job: vec![mount("share")],
        }
    }

    fn found(path: &str) -> Option<(String, String)> {
        let (mounts, paths) = (mounts(), paths());
        let run = mounts_of_run(Path::new("/data"), "u.1");
        let found = find(&mounts, &paths, &run, Path::new(path))?;
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        Some((text(found.mount_point), text(found.below)))
    }

    #[test]
    fn a_path_is_found_on_its_mount() {
        let expected = |mount: &str, below: &str| Some((mount.to_owned(), below.to_owned()));
        assert_eq!(
            found("/data/work/users/7/mounts/c/nfs/seg/stdouterr"),
            expected("/data/mounts/u.1/cluster/nfs", "seg/stdouterr")
        );
        assert_eq!(
            found("/data/work/users/7/jobs/u/mounts/share"),
            expected("/data/mounts/u.1/job/share", "")
        );
    }

    #[test]
    fn the_innermost_mount_counts() {
        assert_eq!(
            found("/data/work/users/7/mounts/c/nfs/inner/x").unwrap().0,
            "/data/mounts/u.1/cluster/nfs/inner"
        );
    }

    #[test]
    fn what_only_begins_alike_is_local() {
        for local in [
            "/data/work/users/7/mounts/c/nfs2/x",
            "/data/work/users/7/mounts/c",
            "/data/work/users/7/jobs/u/scratch",
            "/data/work/users/7/jobs/u/mounts/other/share",
        ] {
            assert_eq!(found(local), None, "{local}");
        }
    }
}
