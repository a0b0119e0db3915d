//! What went into an image and what came out: versions and digests, for comparing two builds.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Build;
use super::root::Root;
use crate::command;
use crate::error::Error;

/// The files of an image, below its directory.
const FILES: &[&str] = &[
    "lote.iso",
    "lote.raw",
    "network/boot.ipxe",
    "network/filesystem.squashfs",
    "network/initrd",
    "network/vmlinuz",
];

/// Writes `manifest.json`, a software bill of materials in `CycloneDX`'s form with the digests of
/// the image's files in its metadata.
pub(super) fn write(build: &Build, root: &Root) -> Result<(), Error> {
    let packages =
        fs::read_to_string(&root.packages).map_err(Error::file("read", &root.packages))?;
    let mut files = Vec::new();
    for name in FILES {
        let digest = sha256(build, &build.output(name))?;
        files.push(json!({"name": format!("sha256:{name}"), "value": digest}));
    }
    let manifest = manifest(build.flavor.name(), &build.epoch, &packages, files);
    let path: PathBuf = build.output("manifest.json");
    let text = format!("{manifest:#}\n");
    fs::write(&path, text).map_err(Error::file("write", &path))?;
    fs::remove_file(&root.packages).map_err(Error::file("write", &root.packages))
}

fn manifest(flavor: &str, epoch: &str, packages: &str, files: Vec<Value>) -> Value {
    let components: Vec<Value> = packages.lines().filter_map(component).collect();
    let mut properties = files;
    properties.push(json!({"name": "source-date-epoch", "value": epoch}));
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "operating-system",
                "name": format!("lote-node-{flavor}"),
                "version": env!("CARGO_PKG_VERSION"),
            },
            "properties": properties,
        },
        "components": components,
    })
}

/// `NAME VERSION ARCHITECTURE`, as a component with its package URL.
fn component(line: &str) -> Option<Value> {
    let mut words = line.split(' ');
    let (name, version, architecture) = (words.next()?, words.next()?, words.next()?);
    let escaped = version
        .replace('+', "%2B")
        .replace(':', "%3A")
        .replace('~', "%7E");
    Some(json!({
        "type": "library",
        "name": name,
        "version": version,
        "purl": format!("pkg:deb/debian/{name}@{escaped}?arch={architecture}"),
    }))
}

fn sha256(build: &Build, file: &Path) -> Result<String, Error> {
    let said = command::capture(build.program("sha256sum").arg(file))?;
    Ok(said.split(' ').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_components() {
        let manifest = manifest("cpu", "1", "bash 5.2-2+b7 amd64\n", vec![]);
        let bash = &manifest["components"][0];
        assert_eq!(bash["purl"], "pkg:deb/debian/bash@5.2-2%2Bb7?arch=amd64");
        assert_eq!(manifest["metadata"]["component"]["name"], "lote-node-cpu");
    }
}
