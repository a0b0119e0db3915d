//! Where the checkout and its target directory are.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::command;
use crate::error::Error;

/// The checkout.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    /// The folder of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Where Cargo builds; everything that chores make lies below it.
    pub(crate) target: PathBuf,
    /// What `cargo metadata` says of the workspace's own packages.
    pub(crate) metadata: Value,
}

impl Workspace {
    /// Asks Cargo.
    pub(crate) fn find() -> Result<Self, Error> {
        let mut command = Command::new(cargo_program());
        command.args(["metadata", "--format-version", "1", "--no-deps"]);
        // Where this crate was built does not say: another checkout may share the target directory.
        if let Some(package) = std::env::var_os("CARGO_MANIFEST_DIR") {
            command.current_dir(package);
        }
        let text = command::capture(&mut command)?;
        let metadata: Value = serde_json::from_str(&text).map_err(|source| Error::Json {
            what: "the answer of `cargo metadata`",
            source,
        })?;
        let folder =
            |member: &str| -> PathBuf { metadata[member].as_str().unwrap_or_default().into() };
        Ok(Self {
            root: folder("workspace_root"),
            target: folder("target_directory"),
            metadata,
        })
    }

    /// A Cargo command in the workspace's folder. All of them name the same
    /// folder of built plugins, or the binary would be built again each time.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo_program());
        command
            .args(arguments)
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("LOTE_PLUGIN_DIR", self.plugins());
        command
    }

    /// The folder of the built framework plugins.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.target.join("plugins")
    }

    /// The names of the packages below a folder of the checkout.
    pub(crate) fn packages_below(&self, folder: &str) -> Vec<&str> {
        let folder = self.root.join(folder);
        let packages = self.metadata["packages"].as_array().into_iter().flatten();
        packages
            .filter(|package| {
                let manifest = package["manifest_path"].as_str().unwrap_or_default();
                Path::new(manifest).starts_with(&folder)
            })
            .filter_map(|package| package["name"].as_str())
            .collect()
    }

    /// A path below the checkout as people write it.
    pub(crate) fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

/// The Cargo that runs this program, or the one on the search path.
fn cargo_program() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}
