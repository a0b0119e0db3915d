//! The workspace's packages and what they depend on.

use std::path::Path;

use serde_json::Value;

/// One package of the workspace.
#[derive(Clone, Debug)]
pub(super) struct Package {
    /// Its name.
    pub(super) name: String,
    /// Its folder below the checkout.
    pub(super) folder: String,
    /// What its `Cargo.toml` names.
    pub(super) dependencies: Vec<Dependency>,
}

/// One dependency of a package.
#[derive(Clone, Debug)]
pub(super) struct Dependency {
    /// The package depended on.
    pub(super) name: String,
    /// Whether it is one of the workspace.
    pub(super) of_the_workspace: bool,
    /// Whether only tests need it.
    pub(super) for_tests: bool,
    /// The features asked for.
    pub(super) features: Vec<String>,
}

/// Reads the answer of `cargo metadata --no-deps`.
pub(super) fn read(metadata: &Value) -> Vec<Package> {
    let root = Path::new(text(&metadata["workspace_root"]));
    list(&metadata["packages"])
        .iter()
        .map(|package| Package {
            name: text(&package["name"]).into(),
            folder: folder(root, Path::new(text(&package["manifest_path"]))),
            dependencies: list(&package["dependencies"])
                .iter()
                .map(dependency)
                .collect(),
        })
        .collect()
}

fn folder(root: &Path, manifest: &Path) -> String {
    let folder = manifest.parent().unwrap_or(manifest);
    let below = folder.strip_prefix(root).unwrap_or(folder);
    below.to_string_lossy().into_owned()
}

fn dependency(value: &Value) -> Dependency {
    Dependency {
        name: text(&value["name"]).into(),
        of_the_workspace: value["path"].is_string(),
        for_tests: value["kind"] == "dev",
        features: list(&value["features"])
            .iter()
            .map(|feature| text(feature).to_owned())
            .collect(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_and_their_dependencies_are_read() {
        let metadata = serde_json::json!({
            "workspace_root": "/w",
            "packages": [{
                "name": "lote-api",
                "manifest_path": "/w/runtime/api/Cargo.toml",
                "dependencies": [
                    { "name": "lote-model", "path": "/w/runtime/model", "kind": null, "features": [] },
                    { "name": "nix", "kind": "dev", "features": ["fs"] },
                ],
            }],
        });
        let packages = read(&metadata);
        assert_eq!(packages[0].folder, "runtime/api");
        let [model, nix] = packages[0].dependencies.as_slice() else {
            panic!("{packages:?}")
        };
        assert!(model.of_the_workspace && !model.for_tests);
        assert!(!nix.of_the_workspace && nix.for_tests && nix.features == ["fs"]);
    }
}
