//! Where a job's directories lie, for whoever lists them later. Pure.

use lote_model::id::NodeName;
use lote_model::job::DirectoryLocation;
use lote_model::planned_mount::MountSource;

use super::command_line::directory_of;
use super::layout::{Layout, Placed};
use super::state::Made;

/// Where a directory of the job lies that its processes see at `path`.
///
/// On a file server it lies on the disk of that server's node, and in a share that is a directory
/// of this node in that: both are there when the job's mounts are gone. Other file systems are
/// read where they are mounted, as long as they are.
pub(crate) fn location(
    layout: &Layout,
    made: &[Made],
    node: &NodeName,
    id: &str,
    path: &str,
) -> DirectoryLocation {
    let at = |node: &NodeName, root: Option<String>, path: String| DirectoryLocation {
        id: id.to_owned(),
        node: node.clone(),
        path,
        root,
        while_mounted: false,
    };
    let Some((placed, rest)) = layout.innermost(path) else {
        return at(node, None, path.to_owned());
    };
    if let MountSource::FileServer(source) = &placed.source {
        let shown = directory_of(&source.point.path, source.directory.as_deref());
        // Not out of the export: what leads there is made by its users.
        let root = source.point.path.clone();
        return at(&source.node, Some(root), directory_of(&shown, Some(rest)));
    }
    let is_this = |made: &&Made| made.root == placed.root && made.relative == placed.relative;
    let made = made.iter().find(is_this);
    let directory = made.and_then(|made| made.directory.clone());
    let while_mounted = directory.is_none();
    let root = directory.unwrap_or_else(|| host_path(layout, placed));
    let shown = directory_of(&root, made.and_then(|made| made.below.as_deref()));
    let path = directory_of(&shown, Some(rest));
    DirectoryLocation {
        while_mounted,
        ..at(node, Some(root), path)
    }
}

fn host_path(layout: &Layout, placed: &Placed) -> String {
    layout.host_path(placed).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use lote_model::planned_mount::{MountRoot, PlannedMount, PlannedMounts};

    use super::super::command_line::tests::source;
    use super::super::layout::tests::layout;
    use super::*;

    fn server(path: &str, directory: Option<&str>) -> PlannedMount {
        let mut source = source();
        source.directory = directory.map(str::to_owned);
        PlannedMount {
            relative_path: path.into(),
            source: MountSource::FileServer(source),
        }
    }

    fn command(path: &str) -> PlannedMount {
        PlannedMount {
            relative_path: path.into(),
            source: MountSource::Command("mount".into()),
        }
    }

    #[test]
    fn output_lies_where_it_stays() {
        let layout = layout(&PlannedMounts {
            cluster: vec![
                server("nfs", None),
                command("nfs/tmp"),
                command("share"),
                command("logs"),
            ],
            job: vec![server("sets", Some("/a/b/"))],
            ..PlannedMounts::default()
        });
        let shown = |relative: &str, below: Option<&str>| Made {
            root: MountRoot::Cluster,
            relative: relative.into(),
            directory: Some("/srv/share".into()),
            below: below.map(str::to_owned),
            client: None,
        };
        let made = [shown("share", None), shown("logs", Some("a/logs"))];
        let own = NodeName::new("n1");
        let of = |path: &str| {
            let found = location(&layout, &made, &own, "M", path);
            (
                found.node.to_string(),
                found.path,
                found.root.unwrap_or_default(),
            )
        };
        let user = "/d/work/users/7";
        for (path, node, expected, root) in [
            (
                "mounts/c/nfs/s/out",
                "n9",
                "/srv/lote/f1/s/out",
                "/srv/lote/f1",
            ),
            ("mounts/c/nfs", "n9", "/srv/lote/f1", "/srv/lote/f1"),
            // The innermost one counts.
            (
                "mounts/c/nfs/tmp/out",
                "n1",
                "/d/mounts/u1.2/cluster/nfs/tmp/out",
                "/d/mounts/u1.2/cluster/nfs/tmp",
            ),
            ("mounts/c/share/s", "n1", "/srv/share/s", "/srv/share"),
            ("mounts/c/logs/s", "n1", "/srv/share/a/logs/s", "/srv/share"),
            (
                "jobs/u1/mounts/sets/s",
                "n9",
                "/srv/lote/f1/a/b/s",
                "/srv/lote/f1",
            ),
            ("mounts/c/s/out", "n1", "/d/work/users/7/mounts/c/s/out", ""),
        ] {
            let expected = (node.to_owned(), expected.to_owned(), root.to_owned());
            assert_eq!(of(&format!("{user}/{path}")), expected, "{path}");
        }
    }
}
