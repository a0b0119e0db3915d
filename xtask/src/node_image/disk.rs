//! Images to start from: one for disks and USB sticks, one for optical media. Both boot by UEFI.

use std::fs;
use std::path::{Path, PathBuf};

use super::Build;
use super::recipe::Recipe;
use super::root::Root;
use crate::command;
use crate::error::Error;

/// The label of the boot partition; what stands on it tells the machine how to join.
const LABEL: &str = "LOTE";

/// Ids that would be random otherwise: of the disk, of its partition and of the file system there.
const DISK_ID: &str = "6c6f7465-0000-4000-8000-000000000001";
const PARTITION_ID: &str = "6c6f7465-0000-4000-8000-000000000002";
const FILE_SYSTEM_ID: &str = "10DE0001";

const MIB: u64 = 1 << 20;

/// What a partition table needs before and behind its partitions.
const TABLE: u64 = MIB;

/// The image for disks and USB sticks: one partition with everything. A node's data gets the rest
/// of the disk at the first boot.
pub(super) fn raw(build: &Build, recipe: &Recipe, root: &Root) -> Result<(), Error> {
    let partition = boot_partition(build, recipe, root)?;
    let size = size(&partition)?;
    let image = build.output("lote.raw");
    let file = fs::File::create(&image).map_err(Error::file("write", &image))?;
    file.set_len(size + 2 * TABLE)
        .map_err(Error::file("write", &image))?;
    drop(file);
    let mut table = build.program("sgdisk");
    table
        .args(["--clear", "--set-alignment=2048"])
        .arg(format!("--disk-guid={DISK_ID}"))
        .arg(format!("--new=1:2048:+{}K", size / 1024))
        .args(["--typecode=1:ef00", "--change-name=1:lote-boot"])
        .arg(format!("--partition-guid=1:{PARTITION_ID}"))
        .arg(&image);
    command::capture(&mut table)?;
    let mut copy = build.program("dd");
    copy.arg(format!("if={}", partition.display()))
        .arg(format!("of={}", image.display()))
        .args(["bs=1M", "seek=1", "conv=notrunc,sparse", "status=none"]);
    command::run(&mut copy)
}

/// The image for optical media, and for machines whose firmware mounts one over the network.
pub(super) fn iso(build: &Build) -> Result<(), Error> {
    let partition = build.scratch("boot.img");
    let tree = build.scratch("iso");
    fs::create_dir_all(tree.join("boot")).map_err(Error::file("write", &tree))?;
    let inside = tree.join("boot/boot.img");
    fs::rename(&partition, &inside).map_err(Error::file("write", &inside))?;
    stamp(build, &tree)?;
    let mut iso = build.program("xorriso");
    iso.args([
        "-as",
        "mkisofs",
        "-quiet",
        "-volid",
        LABEL,
        "-iso-level",
        "3",
    ])
    .args(["-eltorito-alt-boot", "-e", "boot/boot.img", "-no-emul-boot"])
    .args(["-isohybrid-gpt-basdat", "-output"])
    .arg(build.output("lote.iso"))
    .arg(&tree);
    command::run(&mut iso)
}

/// A FAT file system with the boot manager, the kernel and the root file system.
fn boot_partition(build: &Build, recipe: &Recipe, root: &Root) -> Result<PathBuf, Error> {
    let image = build.scratch("boot.img");
    let entry = build.scratch("lote.conf");
    let template = build.source.join("boot/lote.conf");
    let text = fs::read_to_string(&template).map_err(Error::file("read", &template))?;
    let text = text.replace("@OPTIONS@", &recipe.kernel_options.join(" "));
    fs::write(&entry, text).map_err(Error::file("write", &entry))?;
    let files: [(&Path, &str); 6] = [
        (&root.boot_manager, "EFI/BOOT/BOOTX64.EFI"),
        (&build.source.join("boot/loader.conf"), "loader/loader.conf"),
        (&entry, "loader/entries/lote.conf"),
        (&root.kernel, "live/vmlinuz"),
        (&root.initrd, "live/initrd"),
        (&root.filesystem, "live/filesystem.squashfs"),
    ];
    let tree = build.scratch("tree");
    let mut content = 0;
    for (source, target) in files {
        let target = tree.join(target);
        let parent = target.parent().unwrap_or(&tree);
        fs::create_dir_all(parent).map_err(Error::file("write", parent))?;
        fs::copy(source, &target).map_err(Error::file("write", &target))?;
        content += size(&target)?;
    }
    stamp(build, &tree)?;
    // Room for what an operator adds, and for the tables of the file system.
    let whole = (content / MIB + content / MIB / 50 + 64) * MIB;
    let file = fs::File::create(&image).map_err(Error::file("write", &image))?;
    file.set_len(whole).map_err(Error::file("write", &image))?;
    drop(file);
    let mut format = build.program("mkfs.vfat");
    format.args(["-F", "32", "-n", LABEL, "-i", FILE_SYSTEM_ID, "--invariant"]);
    command::capture(format.arg(&image))?;
    let mut copy = build.program("mcopy");
    copy.args(["-s", "-m", "-i"]).arg(&image);
    for top in ["EFI", "loader", "live"] {
        copy.arg(tree.join(top));
    }
    command::run(copy.arg("::"))?;
    fs::remove_dir_all(&tree).map_err(Error::file("write", &tree))?;
    Ok(image)
}

/// Gives all files the time of the build.
fn stamp(build: &Build, tree: &Path) -> Result<(), Error> {
    let mut stamp = build.program("find");
    stamp.arg(tree).args(["-exec", "touch"]);
    stamp
        .arg(format!("--date=@{}", build.epoch))
        .args(["{}", "+"]);
    command::run(&mut stamp)
}

fn size(file: &Path) -> Result<u64, Error> {
    Ok(fs::metadata(file).map_err(Error::file("read", file))?.len())
}
