//! The node image, and what an operator puts beside its kernel.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Where the boot partition begins in the raw image.
const BOOT_PARTITION: &str = "@@1M";

/// Where the same file system begins in the image of an optical medium.
const BOOT_FILE: &str = "@@68K";

/// How large machines' disks are; what nobody writes to takes no room here.
const DISK_SIZE: u64 = 6 << 30;

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
        let mut copy = Command::new("cp");
        copy.arg("--sparse=always").arg(self.file("lote.raw"));
        run(copy.arg(path));
        let disk = OpenOptions::new().write(true).open(path);
        let grown = disk.and_then(|disk| disk.set_len(DISK_SIZE));
        grown.expect("a larger disk");
    }

    /// The same with these files on its boot partition: from where, and where in it.
    pub(crate) fn disk_with(&self, path: &Path, files: &[(PathBuf, &str)]) {
        self.disk(path);
        let partition = format!("{}{BOOT_PARTITION}", path.display());
        if files.iter().any(|(_, target)| target.starts_with("etcd/")) {
            let mut folder = Command::new("mmd");
            run(folder.args(["-i", &partition, "::etcd"]));
        }
        put(&partition, files);
    }

    /// An optical medium with these files beside its kernel: from where, and where there.
    pub(crate) fn medium_with(&self, path: &Path, files: &[(PathBuf, &str)]) {
        let mut copy = Command::new("cp");
        run(copy.arg(self.file("lote.iso")).arg(path));
        put(&format!("{}{BOOT_FILE}", path.display()), files);
    }

    /// What the boot manager starts, with these words more on the kernel's command line.
    pub(crate) fn boot_entry_with(&self, words: &str) -> String {
        let partition = format!("{}{BOOT_PARTITION}", self.file("lote.raw").display());
        let mut show = Command::new("mtype");
        let entry = run(show.args(["-i", &partition, "::loader/entries/lote.conf"]));
        let lines = entry.lines();
        let lines = lines.map(|line| match line.strip_prefix("options ") {
            Some(options) => format!("options {options} {words}\n"),
            None => format!("{line}\n"),
        });
        lines.collect()
    }

    /// Unpacks what the machines have as their root; dropping the folder removes it.
    pub(crate) fn unpacked_root(&self) -> TempDir {
        let root = tempfile::Builder::new()
            .prefix("lote-image-")
            .tempdir_in("/var/tmp")
            .expect("a folder");
        let mut unpack = Command::new("unsquashfs");
        unpack.args(["-quiet", "-no-progress", "-no-exit-code", "-force", "-dest"]);
        run(unpack
            .arg(root.path())
            .arg(self.file("network/filesystem.squashfs")));
        root
    }
}

/// Puts files into a FAT file system that begins somewhere in a file.
fn put(file_system: &str, files: &[(PathBuf, &str)]) {
    for (source, target) in files {
        let mut copy = Command::new("mcopy");
        copy.args(["-o", "-i", file_system]).arg(source);
        run(copy.arg(format!("::{target}")));
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
