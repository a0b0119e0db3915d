//! Images of containers that the tests make themselves, of the machine's own programs.

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
#[derive(Debug)]
pub struct Shelf {
    folder: TempDir,
}

/// A program that making images and running them needs and that is not installed.
pub fn missing_program() -> Option<&'static str> {
    let mut programs = ["skopeo", "umoci", "busybox"].into_iter();
    programs.find(|program| Command::new(program).arg("--help").output().is_err())
}

/// Runs a program that must succeed.
pub fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program} cannot be started: {error}"));
    let output = output.expect("a program");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
}

impl Default for Shelf {
    fn default() -> Self {
        Self::new()
    }
}

impl Shelf {
    /// An empty one.
    pub fn new() -> Self {
        let builder = tempfile::Builder::new().prefix("lote-images-").to_owned();
        let folder = builder.tempdir_in("/var/tmp").expect("a folder");
        Self { folder }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The files of a small system; more may be added to them.
    pub fn files(&self, name: &str) -> PathBuf {
        let root = self.path(name);
        for directory in ["bin", "etc", "root", "usr", "srv"] {
            fs::create_dir_all(root.join(directory)).expect("the shelf can be written to");
        }
        fs::create_dir(root.join("tmp")).expect("the shelf can be written to");
        fs::set_permissions(root.join("tmp"), Permissions::from_mode(0o1777))
            .expect("the shelf can be written to");
        let busybox = ["/bin/busybox", "/usr/bin/busybox"];
        let busybox = busybox.iter().find(|path| Path::new(path).is_file());
        fs::copy(busybox.expect("busybox"), root.join("bin/busybox"))
            .expect("the shelf can be written to");
        for program in PROGRAMS {
            symlink("busybox", root.join("bin").join(program))
                .expect("the shelf can be written to");
        }
        let passwd = "root:x:0:0:root:/root:/bin/sh\nalice:x:100:100::/srv:/bin/sh\n";
        fs::write(root.join("etc/passwd"), passwd).expect("the shelf can be written to");
        fs::write(root.join("etc/group"), "root:x:0:\nalice:x:100:\n")
            .expect("the shelf can be written to");
        fs::write(root.join("etc/release"), "the image of a test\n")
            .expect("the shelf can be written to");
        fs::write(root.join("srv/of-alice"), "hers\n").expect("the shelf can be written to");
        std::os::unix::fs::chown(root.join("srv/of-alice"), Some(100), Some(100))
            .expect("the shelf can be written to");
        fs::set_permissions(root.join("srv/of-alice"), Permissions::from_mode(0o600))
            .expect("the shelf can be written to");
        root
    }

    /// Adds programs of the machine to the files of a system, where they are on the machine, with
    /// the libraries that they need.
    pub fn add_programs(&self, files: &Path, programs: &[&str]) {
        for program in programs {
            let found = Command::new("ldd").arg(program).output().expect("ldd");
            let libraries = String::from_utf8_lossy(&found.stdout).into_owned();
            // Of `libm.so.6 => /lib/… (0x…)` and `/lib64/ld-linux… (0x…)` the path.
            let paths = libraries
                .split_whitespace()
                .filter(|word| word.starts_with('/'));
            for path in paths.chain([*program]) {
                let place = files.join(path.trim_start_matches('/'));
                fs::create_dir_all(place.parent().expect("a folder")).expect("a folder");
                fs::copy(path, place).expect("a program of the machine");
            }
        }
    }

    /// An OCI layout with one image `image`, with these options of `umoci config`.
    pub fn layout(&self, name: &str, files: &Path, config: &[&str]) -> PathBuf {
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
        fs::remove_dir_all(bundle).expect("the shelf can be written to");
        layout
    }

    /// The image of a layout as a file of another kind: `oci-archive` or `docker-archive`.
    pub fn archive(&self, name: &str, layout: &Path, kind: &str) -> PathBuf {
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
    pub fn table(&self, text: &str) -> String {
        let path = self.path("images.toml");
        fs::write(&path, text).expect("the shelf can be written to");
        fs::set_permissions(&path, Permissions::from_mode(0o600))
            .expect("the shelf can be written to");
        path.to_string_lossy().into_owned()
    }
}

/// A section of the table.
pub fn section(name: &str, key: &str, path: &Path) -> String {
    format!(
        "[[image]]\nname = \"{name}\"\n{key} = \"{}\"\n",
        path.display()
    )
}
