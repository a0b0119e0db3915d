//! Images that the tests make themselves: busybox, and nothing else.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Programs that a job of these tests needs, all of them busybox.
const PROGRAMS: &[&str] = &[
    "sh", "cat", "ls", "id", "echo", "sleep", "mount", "umount", "mknod", "env", "stat", "df",
    "touch", "chown", "chmod", "mkdir", "rm", "dd", "wc", "grep", "cut", "awk", "su", "head", "tr",
    "readlink", "pwd", "find", "test", "true", "chroot", "ps", "kill", "printf", "tail", "sort",
];

/// A folder with images and with the table that names them; root's alone.
pub(super) struct Shelf {
    folder: TempDir,
}

/// Whether the tests can run here; says so if not.
pub(super) fn can_run(test: &str) -> bool {
    if !crate::is_root_or_skip(test) {
        return false;
    }
    let programs = ["skopeo", "umoci", "busybox"];
    let missing = programs.iter().find(|program| {
        let run = Command::new(program).arg("--help").output();
        run.is_err()
    });
    if let Some(program) = missing {
        crate::skip(test, &format!("{program} is not installed"));
    }
    missing.is_none()
}

/// Runs a program that must succeed.
pub(super) fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program} cannot be started: {error}"));
    let output = output.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
}

impl Shelf {
    pub(super) fn new() -> Self {
        let builder = tempfile::Builder::new().prefix("lote-images-").to_owned();
        let folder = builder.tempdir_in("/var/tmp").expect("a folder");
        Self { folder }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The files of a small system; more may be added to them.
    pub(super) fn files(&self, name: &str) -> PathBuf {
        let root = self.path(name);
        for directory in ["bin", "etc", "root", "usr", "srv"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::create_dir(root.join("tmp")).unwrap();
        fs::set_permissions(root.join("tmp"), Permissions::from_mode(0o1777)).unwrap();
        let busybox = ["/bin/busybox", "/usr/bin/busybox"];
        let busybox = busybox.iter().find(|path| Path::new(path).is_file());
        fs::copy(busybox.expect("busybox"), root.join("bin/busybox")).unwrap();
        for program in PROGRAMS {
            symlink("busybox", root.join("bin").join(program)).unwrap();
        }
        let passwd = "root:x:0:0:root:/root:/bin/sh\nalice:x:100:100::/srv:/bin/sh\n";
        fs::write(root.join("etc/passwd"), passwd).unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\nalice:x:100:\n").unwrap();
        fs::write(root.join("etc/release"), "the image of a test\n").unwrap();
        fs::write(root.join("srv/of-alice"), "hers\n").unwrap();
        std::os::unix::fs::chown(root.join("srv/of-alice"), Some(100), Some(100)).unwrap();
        fs::set_permissions(root.join("srv/of-alice"), Permissions::from_mode(0o600)).unwrap();
        root
    }

    /// An OCI layout with one image `image`, with these options of `umoci config`.
    pub(super) fn layout(&self, name: &str, files: &Path, config: &[&str]) -> PathBuf {
        let layout = self.path(name);
        let place = layout.to_string_lossy().into_owned();
        let image = format!("{place}:image");
        run("umoci", &["init", "--layout", &place]);
        run("umoci", &["new", "--image", &image]);
        let bundle = self.path(&format!("{name}.bundle"));
        let bundle = bundle.to_string_lossy().into_owned();
        run("umoci", &["unpack", "--image", &image, &bundle]);
        run(
            "cp",
            &[
                "-a",
                &format!("{}/.", files.display()),
                &format!("{bundle}/rootfs/"),
            ],
        );
        run("umoci", &["repack", "--image", &image, &bundle]);
        if !config.is_empty() {
            let arguments = [&["config", "--image", &image][..], config].concat();
            run("umoci", &arguments);
        }
        fs::remove_dir_all(bundle).unwrap();
        layout
    }

    /// The image of a layout as a file of another kind: `oci-archive` or `docker-archive`.
    pub(super) fn archive(&self, name: &str, layout: &Path, kind: &str) -> PathBuf {
        let archive = self.path(name);
        let target = match kind {
            "docker-archive" => format!("{kind}:{}:test/image:1", archive.display()),
            _ => format!("{kind}:{}", archive.display()),
        };
        let source = format!("oci:{}:image", layout.display());
        run(
            "skopeo",
            &["--insecure-policy", "copy", "--quiet", &source, &target],
        );
        archive
    }

    /// The table of the daemon, with this text.
    pub(super) fn table(&self, text: &str) -> String {
        let path = self.path("images.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path.to_string_lossy().into_owned()
    }
}

/// A section of the table.
pub(super) fn section(name: &str, key: &str, path: &Path) -> String {
    format!(
        "[[image]]\nname = \"{name}\"\n{key} = \"{}\"\n",
        path.display()
    )
}
