//! The check that the driver of GPUs was compiled, and for the kernel that boots.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::root::only;
use crate::command;
use crate::error::Error;

/// Where modules are that were compiled on the way, below those of a kernel.
const COMPILED: &str = "updates/dkms";

/// The parts without which CUDA does not start.
const PARTS: [&str; 2] = ["nvidia", "nvidia-uvm"];

/// Asks `modinfo` of each part what kernel it is for.
pub(super) fn check(tree: &Path) -> Result<(), Error> {
    let kernel = only(&tree.join("boot"), "vmlinuz-")?;
    let kernel = kernel.file_name().unwrap_or_default().to_string_lossy();
    let version = kernel.trim_start_matches("vmlinuz-");
    let directory = tree.join("lib/modules").join(version).join(COMPILED);
    let modules = modules(&directory)?;
    for part in PARTS {
        let file = modules.iter().find(|file| is(file, part)).ok_or_else(|| {
            Error::Other(format!(
                "the module {part} was not compiled for the kernel {version}: see what dkms said above"
            ))
        })?;
        let mut ask = Command::new("modinfo");
        let magic = command::capture(ask.args(["--field", "vermagic"]).arg(file))?;
        if magic.split(' ').next() != Some(version) {
            return Err(Error::Other(format!(
                "{} is for the kernel {magic}, and {version} boots",
                file.display()
            )));
        }
        println!("   {part}: compiled for {}", magic.trim());
    }
    Ok(())
}

fn modules(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(directory).map_err(Error::file("read", directory))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

/// Debian's names have the kind of the driver in them: `nvidia-current-open-uvm.ko`.
fn is(file: &Path, part: &str) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let Some((stem, _)) = name.split_once(".ko") else {
        return false;
    };
    let plain: Vec<&str> = stem
        .split('-')
        .filter(|word| !["current", "open", "tesla"].contains(word))
        .collect();
    plain.join("-") == part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_known_under_debians_names() {
        let found = |name: &str, part| is(Path::new(name), part);
        assert!(found("nvidia-current-open.ko", "nvidia"));
        assert!(found("nvidia.ko.xz", "nvidia"));
        assert!(found("/m/nvidia-current-open-uvm.ko", "nvidia-uvm"));
        assert!(!found("nvidia-current-open-uvm.ko", "nvidia"));
        assert!(!found("nvidia-modprobe.conf", "nvidia"));
    }
}
