//! The root file system of an image.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::recipe::Recipe;
use super::{Build, not_read, not_written};
use crate::command;
use crate::error::Error;

/// Which Debian.
const SUITE: &str = "bookworm";

/// Where its packages come from, its security updates included.
const MIRRORS: &[&str] = &[
    "deb http://deb.debian.org/debian bookworm @COMPONENTS@",
    "deb http://deb.debian.org/debian bookworm-updates @COMPONENTS@",
    "deb http://deb.debian.org/debian-security bookworm-security @COMPONENTS@",
];

/// What every form of an image is made of.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) kernel: PathBuf,
    pub(super) initrd: PathBuf,
    pub(super) filesystem: PathBuf,
    /// The boot manager for UEFI.
    pub(super) boot_manager: PathBuf,
    /// The packages and their versions, a line for each.
    pub(super) packages: PathBuf,
}

/// Installs Debian, adds our files and the daemon, and packs it.
pub(super) fn build(build: &Build, recipe: &Recipe, lote: &Path) -> Result<Root, Error> {
    let archive = build.scratch("root.tar");
    let packages = build.output("packages.txt");
    let mut bootstrap = build.program("mmdebstrap");
    bootstrap
        .args(["--variant=minbase", "--mode=root", "--quiet"])
        .args([
            "--aptopt=Acquire::Retries \"5\"",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            // Our own files are there before the packages that would bring theirs.
            "--dpkgopt=force-confold",
        ])
        .arg(format!("--components={}", build.flavor.components()))
        .arg(format!("--include={}", recipe.packages.join(",")))
        // Before the packages: the hooks of the initial RAM disk are among them.
        .arg(hook("essential", copy_in(&build.source.join("root"))))
        .arg(hook("customize", upload(lote, "/usr/bin/lote")))
        .arg(hook("customize", run(&build.source.join("customize"))))
        .arg(hook("customize", list_packages(&packages)))
        .arg(SUITE)
        .arg(&archive);
    for mirror in MIRRORS {
        let components = build.flavor.components().replace(',', " ");
        bootstrap.arg(mirror.replace("@COMPONENTS@", &components));
    }
    command::run(&mut bootstrap)?;
    let extracted = build.scratch("boot");
    fs::create_dir_all(&extracted).map_err(not_written(&extracted))?;
    let mut tar = build.program("tar");
    tar.arg("--extract").arg("--file").arg(&archive);
    tar.arg("--directory").arg(&extracted);
    command::run(tar.args([
        "--wildcards",
        "./boot/*",
        "./usr/lib/systemd/boot/efi/systemd-bootx64.efi",
    ]))?;
    let filesystem = build.scratch("filesystem.squashfs");
    pack(build, &archive, &filesystem)?;
    fs::remove_file(&archive).map_err(not_written(&archive))?;
    Ok(Root {
        kernel: only(&extracted.join("boot"), "vmlinuz-")?,
        initrd: only(&extracted.join("boot"), "initrd.img-")?,
        filesystem,
        boot_manager: extracted.join("usr/lib/systemd/boot/efi/systemd-bootx64.efi"),
        packages,
    })
}

/// A read-only file system. What the boot manager loads lies beside it, not in it.
fn pack(build: &Build, archive: &Path, filesystem: &Path) -> Result<(), Error> {
    let input = File::open(archive).map_err(not_read(archive))?;
    let mut pack = build.program("sqfstar");
    pack.args([
        "-comp",
        "zstd",
        "-Xcompression-level",
        "9",
        "-no-progress",
        "-quiet",
    ])
    .arg(filesystem)
    .args(["boot/vmlinuz-*", "boot/initrd.img-*", "boot/System.map-*"])
    .stdin(Stdio::from(input));
    command::run(&mut pack)
}

/// The one file whose name starts so.
fn only(directory: &Path, prefix: &str) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(directory).map_err(not_read(directory))?;
    let mut found = entries.flatten().map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(prefix)
    });
    match (found.next(), found.next()) {
        (Some(path), None) => Ok(path),
        (None, _) => Err(Error::Other(format!("the image has no {prefix}…"))),
        (Some(one), Some(other)) => Err(Error::Other(format!(
            "the image has two kernels, {} and {}: which one is to boot?",
            one.display(),
            other.display()
        ))),
    }
}

fn hook(when: &str, what: OsString) -> OsString {
    let mut option = OsString::from(format!("--{when}-hook="));
    option.push(what);
    option
}

fn words(parts: &[&std::ffi::OsStr]) -> OsString {
    let mut words = OsString::new();
    for part in parts {
        if !words.is_empty() {
            words.push(" ");
        }
        words.push(part);
    }
    words
}

/// Copies a tree over the root, with our modes and root as the owner of all.
fn copy_in(tree: &Path) -> OsString {
    let line = format!(
        "tar --create --owner=0 --group=0 --numeric-owner --mtime=@$SOURCE_DATE_EPOCH --sort=name --directory={} . | tar --extract --no-overwrite-dir --directory=\"$1\"",
        quoted(tree)
    );
    line.into()
}

fn upload(file: &Path, target: &str) -> OsString {
    let line = format!(
        "install -D --mode=0755 {} \"$1{target}\" && strip \"$1{target}\" && touch --date=@$SOURCE_DATE_EPOCH \"$1{target}\"",
        quoted(file)
    );
    line.into()
}

fn run(script: &Path) -> OsString {
    words(&[quoted(script).as_ref(), "\"$1\"".as_ref()])
}

fn list_packages(output: &Path) -> OsString {
    let format = "'${Package} ${Version} ${Architecture}\\n'";
    let line = format!(
        "dpkg-query --admindir=\"$1/var/lib/dpkg\" --show --showformat={format} > {}",
        quoted(output)
    );
    line.into()
}

/// As a word of the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}
