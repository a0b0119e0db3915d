//! How this node can mount file servers of other nodes.

use std::path::Path;

use lote_model::node::Capability;

/// Who is the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NfsClient {
    /// The kernel.
    Kernel,
    /// Lote's own, by FUSE; why not the kernel.
    Fuse(String),
    /// Nobody, and why not.
    None(String),
}

/// Looks at this machine. Modules of the kernel may come and go, so it is asked for each mount.
pub(super) fn detect() -> NfsClient {
    detect_at(Path::new("/"))
}

/// `root` is `/`, or what stands in for it.
fn detect_at(root: &Path) -> NfsClient {
    let lack = match (kernel_has_nfs(root), has_mount_program(root)) {
        (true, true) => return NfsClient::Kernel,
        (true, false) => "mount.nfs is missing (package nfs-common)",
        (false, _) => "the kernel has no NFS client",
    };
    if root.join("dev/fuse").exists() {
        NfsClient::Fuse(lack.to_owned())
    } else {
        NfsClient::None(format!("{lack}, and there is no /dev/fuse"))
    }
}

fn kernel_has_nfs(root: &Path) -> bool {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let loaded = read("proc/filesystems");
    let is_loaded = loaded.lines().any(|line| {
        let name = line.split_whitespace().next_back();
        matches!(name, Some("nfs" | "nfs4"))
    });
    let release = read("proc/sys/kernel/osrelease");
    let modules = format!("lib/modules/{}/modules.dep", release.trim());
    // `mount` loads it.
    is_loaded || read(&modules).contains("/fs/nfs/nfs.ko")
}

fn has_mount_program(root: &Path) -> bool {
    let directories = ["sbin", "usr/sbin"];
    directories
        .iter()
        .any(|directory| root.join(directory).join("mount.nfs").exists())
}

/// With which versions this node can mount what others serve, newest first.
pub(crate) fn versions() -> Vec<String> {
    let known: &[&str] = match detect() {
        NfsClient::Kernel => &["4.2", "4.1", "4.0", "3"],
        NfsClient::Fuse(_) => &["3"],
        NfsClient::None(_) => &[],
    };
    known.iter().map(|&version| version.to_owned()).collect()
}

/// What the node says of it.
pub(super) fn capability() -> Capability {
    let (in_force, note) = match detect() {
        NfsClient::Kernel => (true, "the kernel's".to_owned()),
        NfsClient::Fuse(lack) => (
            true,
            format!("Lote's own over FUSE, version 3 only: {lack}"),
        ),
        NfsClient::None(lack) => (
            false,
            format!("jobs here mount only file servers of this node: {lack}"),
        ),
    };
    Capability {
        name: "NFS client".into(),
        in_force,
        note,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with these files.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_kernel_is_the_client_if_it_can() {
        let loaded = ("proc/filesystems", "nodev\tsysfs\nnodev\tnfs4\n");
        let module = (
            "lib/modules/6.1/modules.dep",
            "kernel/fs/nfs/nfs.ko.xz: kernel/fs/lockd.ko\n",
        );
        let (program, fuse) = (("sbin/mount.nfs", ""), ("dev/fuse", ""));
        let of = |files: &[(&str, &str)]| {
            let release = [("proc/sys/kernel/osrelease", "6.1\n")];
            detect_at(machine(&[&release, files].concat()).path())
        };
        assert_eq!(of(&[loaded, program]), NfsClient::Kernel);
        assert_eq!(of(&[module, program, fuse]), NfsClient::Kernel);
        let NfsClient::Fuse(lack) = of(&[module, fuse]) else {
            panic!()
        };
        assert!(lack.contains("nfs-common"), "{lack}");
        assert!(matches!(of(&[program, fuse]), NfsClient::Fuse(_)));
        let NfsClient::None(lack) = of(&[("proc/filesystems", "nodev\tnfsd\n")]) else {
            panic!()
        };
        assert!(
            lack.contains("no NFS client") && lack.contains("/dev/fuse"),
            "{lack}"
        );
    }
}
