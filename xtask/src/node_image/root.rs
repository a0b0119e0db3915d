//! The root file system of an image.

use std::fs;
use std::path::{Path, PathBuf};

use super::recipe::{Flavor, Recipe};
use super::{Build, driver};
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

/// What no node needs of its packages: documentation, and drivers of screens, sound, cameras and
/// wireless networks.
const NOT_INSTALLED: &[&str] = &[
    "/usr/share/man/*",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/lib/modules/*/kernel/sound/*",
    "/lib/modules/*/kernel/drivers/bluetooth/*",
    "/lib/modules/*/kernel/drivers/comedi/*",
    "/lib/modules/*/kernel/drivers/gpu/drm/amd/*",
    "/lib/modules/*/kernel/drivers/gpu/drm/i915/*",
    "/lib/modules/*/kernel/drivers/gpu/drm/nouveau/*",
    "/lib/modules/*/kernel/drivers/gpu/drm/radeon/*",
    "/lib/modules/*/kernel/drivers/iio/*",
    "/lib/modules/*/kernel/drivers/media/*",
    "/lib/modules/*/kernel/drivers/net/wireless/*",
    "/lib/modules/*/kernel/net/bluetooth/*",
    "/lib/modules/*/kernel/net/wireless/*",
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
    let tree = build.scratch("root");
    let plugins = build.scratch("plugins");
    compile_plugins(build, lote, &plugins)?;
    let packages = build.output("packages.txt");
    let mut bootstrap = build.program("mmdebstrap");
    bootstrap
        .args(["--variant=minbase", "--mode=root", "--quiet"])
        .args([
            "--aptopt=Acquire::Retries \"5\"",
            // Nobody starts from a half-made image, so nothing has to be on the disk at once.
            "--dpkgopt=force-unsafe-io",
            // Our own files are there before the packages that would bring theirs.
            "--dpkgopt=force-confold",
        ])
        .arg(format!("--components={}", build.flavor.components()))
        .arg(format!("--include={}", recipe.packages.join(",")))
        .args(own_files(build))
        .arg(hook("customize", &upload(lote, "/usr/bin/lote")))
        .arg(hook(
            "customize",
            &copy_below(&plugins, "/usr/lib/lote/plugins"),
        ))
        .arg(hook("customize", &run(&build.source.join("customize"))))
        .args(customize_of_site(build))
        .arg(hook("customize", &list_packages(&packages)))
        .arg("--format=directory")
        .arg(SUITE)
        .arg(&tree);
    for path in NOT_INSTALLED {
        bootstrap.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    for mirror in MIRRORS {
        let components = build.flavor.components().replace(',', " ");
        bootstrap.arg(mirror.replace("@COMPONENTS@", &components));
    }
    bootstrap.args(&recipe.sources);
    command::run(&mut bootstrap)?;
    if build.flavor == Flavor::Gpu {
        driver::check(&tree)?;
    }
    let filesystem = build.scratch("filesystem.squashfs");
    pack(build, &tree, &filesystem)?;
    Ok(Root {
        kernel: only(&tree.join("boot"), "vmlinuz-")?,
        initrd: only(&tree.join("boot"), "initrd.img-")?,
        filesystem,
        boot_manager: tree.join("usr/lib/systemd/boot/efi/systemd-bootx64.efi"),
        packages,
    })
}

/// The plugins' code, which every machine would compile at its first start otherwise.
fn compile_plugins(build: &Build, lote: &Path, into: &Path) -> Result<(), Error> {
    fs::create_dir_all(into).map_err(Error::file("write", into))?;
    let mut compile = build.program(&lote.display().to_string());
    command::run(compile.arg("__compile-plugins").arg(into))
}

/// A read-only file system, of the kind that is unpacked fastest: a machine without a disk keeps it
/// in memory as it is. What the boot manager loads lies beside it, not in it.
fn pack(build: &Build, tree: &Path, filesystem: &Path) -> Result<(), Error> {
    let mut pack = build.program("mksquashfs");
    pack.arg(tree)
        .arg(filesystem)
        .args(["-comp", "lz4", "-b", "256K", "-no-progress", "-quiet"])
        .args(["-wildcards", "-e", "boot/vmlinuz-*", "boot/initrd.img-*"]);
    command::run(&mut pack)
}

/// The one file whose name starts so.
pub(super) fn only(directory: &Path, prefix: &str) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(directory).map_err(Error::file("read", directory))?;
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

/// An option that has a line of the shell run at that time.
fn hook(when: &str, line: &str) -> String {
    format!("--{when}-hook={line}")
}

/// Copies the files of all flavors, those of this one, and the site's. Before the packages: the hooks
/// of the initial RAM disk and patches of drivers are among them.
fn own_files(build: &Build) -> Vec<String> {
    let of_flavor = format!("root-{}", build.flavor.name());
    let own = ["root", &of_flavor].map(|name| build.source.join(name));
    let of_site = build.site.iter().map(|site| site.join("root"));
    let trees = own.into_iter().chain(of_site);
    let there: Vec<PathBuf> = trees.filter(|tree| tree.is_dir()).collect();
    there
        .iter()
        .map(|tree| hook("essential", &copy_in(tree)))
        .collect()
}

/// The site's last touches, after ours.
fn customize_of_site(build: &Build) -> Option<String> {
    let script = build.site.as_ref()?.join("customize");
    script.is_file().then(|| hook("customize", &run(&script)))
}

/// Copies a tree over the root, with our modes and root as the owner of all.
fn copy_in(tree: &Path) -> String {
    format!(
        "tar --create --owner=0 --group=0 --numeric-owner --mtime=@$SOURCE_DATE_EPOCH --sort=name --directory={} . | tar --extract --no-overwrite-dir --directory=\"$1\"",
        quoted(tree)
    )
}

/// Copies the files of a directory, readable for all, into a new one of the root.
fn copy_below(directory: &Path, target: &str) -> String {
    format!(
        "install -d \"$1{target}\" && install --mode=0644 {}/* \"$1{target}\" && touch --date=@$SOURCE_DATE_EPOCH \"$1{target}\"/*",
        quoted(directory)
    )
}

fn upload(file: &Path, target: &str) -> String {
    format!(
        "install -D --mode=0755 {} \"$1{target}\" && strip \"$1{target}\" && touch --date=@$SOURCE_DATE_EPOCH \"$1{target}\"",
        quoted(file)
    )
}

fn run(script: &Path) -> String {
    format!("{} \"$1\"", quoted(script))
}

fn list_packages(output: &Path) -> String {
    let format = "'${Package} ${Version} ${Architecture}\\n'";
    format!(
        "dpkg-query --admindir=\"$1/var/lib/dpkg\" --show --showformat={format} > {}",
        quoted(output)
    )
}

/// As a word of the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}
