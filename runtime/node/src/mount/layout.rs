//! Where everything is: on the host, and as the job sees it. Pure.

use std::path::{Path, PathBuf};

use lote_model::environment::{JobPaths, SHARED};
use lote_model::planned_mount::{MountRoot, MountSource, PlannedMount, PlannedMounts};

use crate::isolation::MountedTree;

/// All mounts of all jobs, in the data directory.
pub(crate) const MOUNTS: &str = "mounts";

/// Where the mounts of one attempt of a job are made, and where its processes see them.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// `{data}/mounts/{uid}.{attempt}`, which only the daemon can list.
    pub(crate) directory: PathBuf,
    mount_root: String,
    job_root: String,
    job_mount_root: String,
    /// Those that others lie below come first.
    pub(crate) mounts: Vec<Placed>,
}

/// One file system in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) root: MountRoot,
    /// Below the root: no empty part, no `.` and no `..`.
    pub(crate) relative: String,
    pub(crate) source: MountSource,
    /// By which pointer the sealed secrets have the key of its account, if it has one.
    pub(crate) key: Option<String>,
}

impl Layout {
    /// The mounts of the attempt that has this name.
    pub(crate) fn new(
        data_directory: &Path,
        attempt: &str,
        mounts: &PlannedMounts,
        paths: &JobPaths,
    ) -> Self {
        Self {
            directory: data_directory.join(MOUNTS).join(attempt),
            mount_root: paths.mount_root.clone(),
            job_root: paths.job_root.clone(),
            job_mount_root: paths.job_mount_root.clone(),
            mounts: placed(mounts),
        }
    }

    /// Where the roots of the job are on the host.
    pub(super) fn host_root(&self, root: MountRoot) -> PathBuf {
        self.directory.join(match root {
            MountRoot::Cluster => "cluster",
            MountRoot::Job => "job",
            MountRoot::Own => "own",
        })
    }

    /// Where a file system is on the host.
    pub(crate) fn host_path(&self, placed: &Placed) -> PathBuf {
        self.host_root(placed.root).join(&placed.relative)
    }

    /// Whether it lies below another one.
    pub(super) fn is_nested(&self, placed: &Placed) -> bool {
        let mut others = self.mounts.iter();
        others.any(|other| {
            other.root == placed.root && below(&placed.relative, &other.relative) > Some("")
        })
    }

    /// The file system that a path of the job's lies on, and the path there (empty for its top):
    /// the innermost one. None for what lies on no mount.
    pub(crate) fn innermost<'a>(&self, path: &'a str) -> Option<(&Placed, &'a str)> {
        let found = self.mounts.iter().filter_map(|placed| {
            let root = match placed.root {
                MountRoot::Cluster => &self.mount_root,
                MountRoot::Job => &self.job_mount_root,
                MountRoot::Own => &self.job_root,
            };
            Some((placed, below(below(path, root)?, &placed.relative)?))
        });
        found.max_by_key(|(placed, _)| placed.relative.len())
    }

    /// Where the daemon finds what the job sees at a path.
    pub(crate) fn to_host(&self, path: &Path) -> PathBuf {
        let found = path.to_str().and_then(|text| self.innermost(text));
        match found {
            Some((placed, rest)) => joined(&self.host_path(placed), rest),
            None => path.to_owned(),
        }
    }

    /// What every process is shown, and where. What is mounted below another file system comes
    /// with that.
    pub(crate) fn trees(&self) -> Vec<MountedTree> {
        let outermost = self.mounts.iter().filter(|placed| !self.is_nested(placed));
        let tree = |placed: &Placed| {
            let (base, relative) = self.target(placed);
            MountedTree {
                source: self.host_path(placed),
                base,
                relative,
            }
        };
        outermost.map(tree).collect()
    }

    /// Where the job sees it: a directory that only root can replace, and the way from there.
    fn target(&self, placed: &Placed) -> (PathBuf, PathBuf) {
        match placed.root {
            MountRoot::Cluster => (self.mount_root.as_str().into(), (&placed.relative).into()),
            MountRoot::Job => {
                let mounts = below(&self.job_mount_root, &self.job_root).unwrap_or_default();
                let relative = Path::new(mounts).join(&placed.relative);
                (self.job_root.as_str().into(), relative)
            }
            MountRoot::Own => (self.job_root.as_str().into(), (&placed.relative).into()),
        }
    }
}

/// The path without the directory before it; none if it does not lie in that directory.
fn below<'a>(path: &'a str, directory: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(directory)?;
    match rest.strip_prefix('/') {
        Some(rest) => Some(rest.trim_matches('/')),
        None => rest.is_empty().then_some(""),
    }
}

/// The directory itself for an empty path.
pub(super) fn joined(directory: &Path, rest: &str) -> PathBuf {
    if rest.is_empty() {
        directory.to_owned()
    } else {
        directory.join(rest)
    }
}

/// Those that others lie below come first.
fn placed(mounts: &PlannedMounts) -> Vec<Placed> {
    let mut all = of_root(MountRoot::Cluster, &mounts.cluster);
    all.extend(of_root(MountRoot::Job, &mounts.job));
    all.extend(mounts.share().map(|source| Placed {
        root: MountRoot::Own,
        relative: SHARED.to_owned(),
        source: MountSource::GangShare(source.clone()),
        key: None,
    }));
    all.sort_by_key(|placed| (placed.root, placed.relative.matches('/').count()));
    all
}

fn of_root(root: MountRoot, mounts: &[PlannedMount]) -> Vec<Placed> {
    // Secrets are found by the place of their account in the list of its kind.
    let (mut shares, mut containers) = (0.., 0..);
    let mut placed = Vec::with_capacity(mounts.len());
    for PlannedMount {
        relative_path,
        source,
    } in mounts
    {
        let key = match source {
            MountSource::FileShare(_) => shares.next().map(|n| pointer(root, "azureFileShares", n)),
            MountSource::Blobs(_) => {
                let index = containers.next();
                index.map(|n| pointer(root, "azureBlobFileSystems", n))
            }
            MountSource::FileServer(_) | MountSource::Command(_) | MountSource::GangShare(_) => {
                None
            }
        };
        placed.push(Placed {
            root,
            relative: normalised(relative_path),
            source: source.clone(),
            key,
        });
    }
    placed
}

fn pointer(root: MountRoot, list: &str, index: usize) -> String {
    let volumes = match root {
        MountRoot::Cluster => "/properties/nodeSetup/mountVolumes",
        MountRoot::Job | MountRoot::Own => "/properties/mountVolumes",
    };
    format!("{volumes}/{list}/{index}/credentials/accountKey")
}

fn normalised(path: &str) -> String {
    let parts = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "." | ".."));
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn command(path: &str) -> PlannedMount {
        PlannedMount {
            relative_path: path.into(),
            source: MountSource::Command("mount".into()),
        }
    }

    pub(in crate::mount) fn layout(mounts: &PlannedMounts) -> Layout {
        let paths = JobPaths {
            user_root: "/d/work/users/7".into(),
            mount_root: "/d/work/users/7/mounts/c".into(),
            jobs_root: "/d/work/users/7/jobs".into(),
            job_root: "/d/work/users/7/jobs/u1".into(),
            job_mount_root: "/d/work/users/7/jobs/u1/mounts".into(),
            scratch: String::new(),
            shared: String::new(),
            shared_scratch: None,
            host_file: String::new(),
            private_tmp: String::new(),
            peer: String::new(),
        };
        Layout::new(Path::new("/d"), "u1.2", mounts, &paths)
    }

    fn nested() -> Layout {
        layout(&PlannedMounts {
            cluster: vec![command("a/b/c"), command("x"), command("a/")],
            job: vec![command("a//d")],
            ..PlannedMounts::default()
        })
    }

    #[test]
    fn what_others_lie_below_comes_first() {
        let layout = nested();
        let order: Vec<_> = layout.mounts.iter().map(|m| m.relative.as_str()).collect();
        assert_eq!(order, ["x", "a", "a/b/c", "a/d"]);
        let nested: Vec<_> = layout.mounts.iter().map(|m| layout.is_nested(m)).collect();
        assert_eq!(nested, [false, false, true, false]);
    }

    #[test]
    fn a_process_is_shown_the_outermost_ones() {
        let tree = |source: &str, base: &str, relative: &str| MountedTree {
            source: source.into(),
            base: base.into(),
            relative: relative.into(),
        };
        let cluster = "/d/work/users/7/mounts/c";
        assert_eq!(
            nested().trees(),
            [
                tree("/d/mounts/u1.2/cluster/x", cluster, "x"),
                tree("/d/mounts/u1.2/cluster/a", cluster, "a"),
                tree(
                    "/d/mounts/u1.2/job/a/d",
                    "/d/work/users/7/jobs/u1",
                    "mounts/a/d"
                ),
            ]
        );
    }

    #[test]
    fn the_innermost_file_system_has_a_path() {
        let layout = nested();
        let host = |path: &str| {
            let path = layout.to_host(Path::new(path));
            path.to_str().unwrap().to_owned()
        };
        let root = "/d/work/users/7/mounts/c";
        for (path, expected) in [
            ("a", "/d/mounts/u1.2/cluster/a"),
            ("a/f", "/d/mounts/u1.2/cluster/a/f"),
            ("a/b/c/f/g/", "/d/mounts/u1.2/cluster/a/b/c/f/g"),
            ("x/", "/d/mounts/u1.2/cluster/x"),
        ] {
            assert_eq!(host(&format!("{root}/{path}")), expected, "{path}");
        }
        // Beside mounts is the node's own disk.
        for path in [
            format!("{root}/ab"),
            format!("{root}x/a"),
            "/d/work/users/7/jobs/u1/mounts/a".to_owned(),
            "/tmp".to_owned(),
        ] {
            assert_eq!(host(&path), path);
        }
    }

    #[test]
    fn keys_are_found_by_the_place_in_their_list() {
        let share = |path: &str| {
            serde_json::from_value::<PlannedMount>(serde_json::json!({
                "relativePath": path, "source": {"fileShare": {"account": "a", "url": "u",
                    "fileMode": "0777", "directoryMode": "0777"}}}))
            .unwrap()
        };
        let blobs = serde_json::from_value::<PlannedMount>(serde_json::json!({
            "relativePath": "b", "source": {"blobs": {"account": "a", "container": "c"}}}));
        let mounts = PlannedMounts {
            cluster: vec![blobs.unwrap()],
            job: vec![share("s/t"), command("m"), share("u")],
            ..PlannedMounts::default()
        };
        let keys = layout(&mounts).mounts.into_iter().map(|m| m.key);
        let keys: Vec<_> = keys.flatten().collect();
        assert_eq!(
            keys,
            [
                "/properties/nodeSetup/mountVolumes/azureBlobFileSystems/0/credentials/accountKey",
                "/properties/mountVolumes/azureFileShares/1/credentials/accountKey",
                "/properties/mountVolumes/azureFileShares/0/credentials/accountKey",
            ]
        );
    }
}
