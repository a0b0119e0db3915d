//! The files of new projects.

use super::Template;

// `SDK`: every source file of `plugins/sdk`, which the build script has found.
include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

macro_rules! template {
    ($path:literal, $source:literal) => {
        Template {
            path: $path,
            text: include_str!(concat!("../templates/", $source)),
        }
    };
}

macro_rules! of_the_tree {
    ($path:literal, $source:literal) => {
        Template {
            path: $path,
            text: include_str!(concat!("../../../../../", $source)),
        }
    };
}

/// Whatever the language: a job, and cases that all three answer alike.
pub(super) const COMMON: &[Template] = &[
    template!("job.json", "job.json"),
    template!("cases/defaults.json", "cases/defaults.json"),
    template!("cases/defaults.plan.json", "cases/defaults.plan.json"),
    template!("cases/two-nodes.json", "cases/two-nodes.json"),
    template!("cases/two-nodes.plan.json", "cases/two-nodes.plan.json"),
    template!("cases/wrong.json", "cases/wrong.json"),
    template!("cases/wrong.plan.json", "cases/wrong.plan.json"),
];

pub(super) const RUST: &[Template] = &[
    template!("Cargo.toml", "rust/manifest.toml"),
    template!(".cargo/config.toml", "rust/config.toml"),
    template!(".gitignore", "rust/gitignore"),
    template!("README.md", "rust/README.md"),
    template!("src/lib.rs", "rust/lib.rs"),
    template!("src/settings.schema.json", "settings.schema.json"),
    template!("sdk/Cargo.toml", "rust/sdk.toml"),
    of_the_tree!("sdk/wit/framework.wit", "wit/0.1/framework.wit"),
    template!("sdk/cases/Cargo.toml", "rust/cases.toml"),
    of_the_tree!("sdk/cases/src/lib.rs", "plugins/cases/src/lib.rs"),
];

pub(super) const PYTHON: &[Template] = &[
    template!("README.md", "python/README.md"),
    template!(".gitignore", "python/gitignore"),
    template!("requirements.txt", "python/requirements.txt"),
    template!("app.py", "python/app.py"),
    template!("settings.schema.json", "settings.schema.json"),
    of_the_tree!("wit/framework.wit", "wit/0.1/framework.wit"),
];

pub(super) const JAVASCRIPT: &[Template] = &[
    template!("README.md", "javascript/README.md"),
    template!(".gitignore", "javascript/gitignore"),
    template!("package.json", "javascript/package.json"),
    template!("app.js", "javascript/app.js"),
    of_the_tree!("wit/framework.wit", "wit/0.1/framework.wit"),
];
