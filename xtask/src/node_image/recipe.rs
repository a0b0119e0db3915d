//! What is in an image, read from `node-image/`.

use std::fs;
use std::path::Path;

use clap::ValueEnum;

use crate::error::Error;

/// Which machines an image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Flavor {
    /// Machines without GPUs
    Cpu,
    /// Machines with NVIDIA GPUs
    Gpu,
}

impl Flavor {
    /// Its name in files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
        }
    }

    /// Which parts of Debian its packages are in.
    pub(super) fn components(self) -> &'static str {
        match self {
            Self::Cpu => "main",
            Self::Gpu => "main,contrib,non-free,non-free-firmware",
        }
    }
}

/// What is in an image.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Recipe {
    /// Debian packages; what they depend on comes with them.
    pub(super) packages: Vec<String>,
    /// Options of the kernel.
    pub(super) kernel_options: Vec<String>,
}

/// Reads the recipe of a flavor.
pub(super) fn read(source: &Path, flavor: Flavor) -> Result<Recipe, Error> {
    let list = |path: &str| {
        let path = source.join(path);
        let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        Ok::<_, Error>(entries(&text))
    };
    let mut packages = list("packages/common")?;
    packages.extend(list(&format!("packages/{}", flavor.name()))?);
    Ok(Recipe {
        packages,
        kernel_options: list("boot/options")?,
    })
}

/// One entry a line; empty lines and lines with `#` are for people.
fn entries(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    let entries = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    entries.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_flavors_can_be_read() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node-image");
        let cpu = read(&source, Flavor::Cpu).unwrap();
        let gpu = read(&source, Flavor::Gpu).unwrap();
        assert!(cpu.packages.iter().any(|package| package == "systemd"));
        assert!(gpu.packages.len() > cpu.packages.len());
        assert!(cpu.kernel_options.contains(&"boot=lote".to_owned()));
    }

    #[test]
    fn comments_are_no_entries() {
        assert_eq!(entries("# a\n\n b \nc\n"), ["b", "c"]);
    }
}
