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
    /// Where packages come from besides Debian, as lines for apt.
    pub(super) sources: Vec<String>,
    /// Options of the kernel.
    pub(super) kernel_options: Vec<String>,
}

/// Reads the recipe of a flavor, with what the site adds.
pub(super) fn read(source: &Path, flavor: Flavor, site: Option<&Path>) -> Result<Recipe, Error> {
    let own = |path: &str| list(&source.join(path));
    let of_site = |name: &str| match site.map(|site| site.join(name)) {
        Some(path) if path.exists() => list(&path),
        _ => Ok(Vec::new()),
    };
    let mut packages = own("packages/common")?;
    packages.extend(own(&format!("packages/{}", flavor.name()))?);
    packages.extend(of_site("packages")?);
    Ok(Recipe {
        packages,
        sources: of_site("sources")?,
        kernel_options: own("boot/options")?,
    })
}

fn list(path: &Path) -> Result<Vec<String>, Error> {
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    Ok(entries(&text))
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
        let cpu = read(&source, Flavor::Cpu, None).unwrap();
        let gpu = read(&source, Flavor::Gpu, None).unwrap();
        assert!(cpu.packages.iter().any(|package| package == "systemd"));
        assert!(gpu.packages.len() > cpu.packages.len());
        assert!(cpu.kernel_options.contains(&"boot=lote".to_owned()));
    }

    #[test]
    fn a_site_adds_what_it_has() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node-image");
        let site = tempfile::tempdir().unwrap();
        let empty = read(&source, Flavor::Cpu, Some(site.path())).unwrap();
        assert_eq!(empty, read(&source, Flavor::Cpu, None).unwrap());
        fs::write(site.path().join("packages"), "# ours\ntcpdump\n").unwrap();
        fs::write(site.path().join("sources"), "deb http://a b c\n").unwrap();
        let recipe = read(&source, Flavor::Cpu, Some(site.path())).unwrap();
        assert_eq!(recipe.packages.last().unwrap(), "tcpdump");
        assert_eq!(recipe.sources, ["deb http://a b c"]);
    }

    #[test]
    fn comments_are_no_entries() {
        assert_eq!(entries("# a\n\n b \nc\n"), ["b", "c"]);
    }
}
