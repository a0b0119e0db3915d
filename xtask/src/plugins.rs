//! Builds the framework plugins as components.
//!
//! Every package of the workspace that makes a `cdylib` is a plugin. Those below
//! `plugins/` are the built-in ones; the others exist for tests and land in a
//! folder of their own, where no daemon looks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::command;
use crate::error::Error;
use crate::workspace::Workspace;

/// The target of components; `wasm-component-ld`, which `.cargo/config.toml` names as
/// its linker, turns what it builds into one.
const PLUGIN_TARGET: &str = "wasm32-unknown-unknown";

/// The Cargo profile for components: small, because each is embedded and compiled.
const PROFILE: &str = "plugin";

/// Between the flags of `CARGO_ENCODED_RUSTFLAGS`: paths may contain spaces.
const ENCODED_SEPARATOR: &str = "\u{1f}";

/// What every plugin's package name starts with.
const PACKAGE_PREFIX: &str = "lote-plugin-";

/// A package that makes a component.
#[derive(Debug, PartialEq, Eq)]
struct Plugin {
    /// The package.
    package: String,
    /// Where the component belongs, relative to the folder of the built plugins.
    destination: PathBuf,
}

/// Builds all plugins and answers the components, in the order of their names. A
/// component that has not changed is not written, so that nothing that embeds it
/// is built again.
pub(crate) fn build(workspace: &Workspace) -> Result<Vec<PathBuf>, Error> {
    let plugins = plugins(&workspace.metadata, &workspace.root);
    command::run(&mut cargo_build(workspace, &plugins))?;
    plugins
        .iter()
        .map(|plugin| {
            let source = workspace.target.join(built(&plugin.package));
            let destination = workspace.plugins().join(&plugin.destination);
            copy_if_changed(&source, &destination).map(|()| destination)
        })
        .collect()
}

fn plugins(metadata: &Value, root: &Path) -> Vec<Plugin> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let mut plugins: Vec<Plugin> = packages
        .filter(|package| makes_cdylib(package))
        .filter_map(|package| plugin(package, root))
        .collect();
    plugins.sort_by(|a, b| a.destination.cmp(&b.destination));
    plugins
}

fn makes_cdylib(package: &Value) -> bool {
    let targets = package["targets"].as_array().into_iter().flatten();
    targets
        .flat_map(|target| target["crate_types"].as_array().into_iter().flatten())
        .any(|kind| kind == "cdylib")
}

fn plugin(package: &Value, root: &Path) -> Option<Plugin> {
    let name = package["name"].as_str()?;
    let file = format!("{}.wasm", name.strip_prefix(PACKAGE_PREFIX)?);
    let manifest = Path::new(package["manifest_path"].as_str()?);
    let folder = if manifest.starts_with(root.join("plugins")) {
        ""
    } else {
        "test"
    };
    Some(Plugin {
        package: name.to_owned(),
        destination: Path::new(folder).join(file),
    })
}

fn cargo_build(workspace: &Workspace, plugins: &[Plugin]) -> Command {
    let mut command = workspace.cargo(&["build", "--profile", PROFILE, "--target", PLUGIN_TARGET]);
    for plugin in plugins {
        command.args(["--package", &plugin.package]);
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", remap_flags(&cargo_home()));
    command
}

/// Panic texts of dependencies contain the path of the Cargo home, and in it the
/// name of a folder per registry. Without them the same sources give the same
/// bytes, and so the same digest, for everyone.
fn remap_flags(cargo_home: &Path) -> String {
    let sources = cargo_home.join("registry/src");
    let registries = fs::read_dir(&sources).into_iter().flatten().flatten();
    std::iter::once(cargo_home.to_owned())
        .chain(registries.map(|entry| entry.path()))
        .map(|folder| format!("--remap-path-prefix={}=/cargo", folder.display()))
        .collect::<Vec<_>>()
        .join(ENCODED_SEPARATOR)
}

fn cargo_home() -> PathBuf {
    let default = || Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cargo");
    std::env::var_os("CARGO_HOME").map_or_else(default, PathBuf::from)
}

/// Where Cargo leaves a package's component, relative to the target folder.
fn built(package: &str) -> PathBuf {
    let file = format!("{}.wasm", package.replace('-', "_"));
    [PLUGIN_TARGET, PROFILE, &file].iter().collect()
}

fn copy_if_changed(source: &Path, destination: &Path) -> Result<(), Error> {
    let bytes = fs::read(source).map_err(Error::file("read", source))?;
    if fs::read(destination).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    if let Some(folder) = destination.parent() {
        fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    }
    fs::write(destination, bytes).map_err(Error::file("write", destination))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, folder: &str, kinds: &[&str]) -> Value {
        serde_json::json!({
            "name": name,
            "manifest_path": format!("/w/{folder}/Cargo.toml"),
            "targets": [{ "crate_types": kinds }],
        })
    }

    #[test]
    fn plugins_are_found_and_test_plugins_kept_apart() {
        let metadata = serde_json::json!({ "packages": [
            package("lote-plugin-pytorch", "plugins/pytorch", &["cdylib", "rlib"]),
            package("lote-plugin-sdk", "plugins/sdk", &["lib"]),
            package("lote-plugin-hostile", "runtime/plugin-host/tests/hostile", &["cdylib"]),
            package("lote-plugin-host", "runtime/plugin-host", &["lib"]),
        ]});
        let found: Vec<PathBuf> = plugins(&metadata, Path::new("/w"))
            .into_iter()
            .map(|plugin| plugin.destination)
            .collect();
        assert_eq!(
            found,
            [Path::new("pytorch.wasm"), Path::new("test/hostile.wasm")]
        );
    }
}
