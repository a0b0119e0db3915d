//! The files of a network boot.

use std::fs;
use std::path::Path;

use super::Build;
use super::recipe::Recipe;
use super::root::Root;
use crate::error::Error;

/// Kernel, initial RAM disk, root file system, and the script for iPXE.
pub(super) fn build(build: &Build, recipe: &Recipe, root: &Root) -> Result<(), Error> {
    let directory = build.output("network");
    fs::create_dir_all(&directory).map_err(Error::file("write", &directory))?;
    let files: [(&Path, &str); 3] = [
        (&root.kernel, "vmlinuz"),
        (&root.initrd, "initrd"),
        (&root.filesystem, "filesystem.squashfs"),
    ];
    for (source, name) in files {
        let target = directory.join(name);
        fs::copy(source, &target).map_err(Error::file("write", &target))?;
    }
    let template = build.source.join("boot/boot.ipxe");
    let text = fs::read_to_string(&template).map_err(Error::file("read", &template))?;
    let script = directory.join("boot.ipxe");
    let text = text.replace("@OPTIONS@", &recipe.kernel_options.join(" "));
    fs::write(&script, text).map_err(Error::file("write", &script))
}
