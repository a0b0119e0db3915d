//! The node image, and what an operator puts beside its kernel.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the boot partition begins in the raw image.
const BOOT_PARTITION: &str = "@@1M";

/// What `cargo xtask node-image` built.
pub(crate) struct Image {
    folder: PathBuf,
}

impl Image {
    /// The one that `LOTE_NODE_IMAGE` names.
    pub(crate) fn find() -> Self {
        let folder = std::env::var_os("LOTE_NODE_IMAGE")
            .expect("LOTE_NODE_IMAGE names what `cargo xtask node-image` has built");
        Self {
            folder: folder.into(),
        }
    }

    /// A file of it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What stands in the kernel's command line of all machines.
    pub(crate) fn options(&self) -> String {
        let script = std::fs::read_to_string(self.file("network/boot.ipxe")).expect("the script");
        let line = script
            .lines()
            .find_map(|line| line.strip_prefix("kernel vmlinuz initrd=initrd "));
        let words = line.expect("a line with the kernel").split(' ');
        let own = |word: &&str| !word.starts_with("fetch=") && !word.contains("${");
        let words: Vec<&str> = words
            .filter(own)
            .filter(|word| *word != "ip=dhcp")
            .collect();
        words.join(" ")
    }

    /// A disk with the image, with room behind it for the machine's data.
    pub(crate) fn disk(&self, path: &Path) {
        let base = std::fs::canonicalize(self.file("lote.raw")).expect("the image");
        disk_on(&base, path);
    }

    /// The same with these files on its boot partition: where in it, and from where.
    pub(crate) fn disk_with(&self, path: &Path, files: &[(PathBuf, &str)]) {
        let raw = path.with_extension("raw");
        run(Command::new("cp")
            .arg("--sparse=always")
            .arg(self.file("lote.raw"))
            .arg(&raw));
        let partition = format!("{}{BOOT_PARTITION}", raw.display());
        let mut folders = Command::new("mmd");
        run(folders.args(["-i", &partition, "::etcd"]));
        for (source, target) in files {
            let mut copy = Command::new("mcopy");
            copy.args(["-o", "-i", &partition]).arg(source);
            run(copy.arg(format!("::{target}")));
        }
        disk_on(&raw, path);
    }

    /// What the boot manager starts.
    pub(crate) fn boot_entry(&self) -> String {
        let partition = format!("{}{BOOT_PARTITION}", self.file("lote.raw").display());
        let mut show = Command::new("mtype");
        run(show.args(["-i", &partition, "::loader/entries/lote.conf"]))
    }

    /// Unpacks what the machines have as their root.
    pub(crate) fn unpack_root(&self, into: &Path) {
        let mut unpack = Command::new("unsquashfs");
        unpack.args(["-quiet", "-no-progress", "-no-exit-code", "-dest"]);
        run(unpack
            .arg(into)
            .arg(self.file("network/filesystem.squashfs")));
    }
}

/// Runs a program that has to end well; what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A disk that begins as `base`, and on which more fits.
fn disk_on(base: &Path, path: &Path) {
    let mut create = Command::new("qemu-img");
    create.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]);
    run(create.arg(base).arg(path).arg("6G"));
}
