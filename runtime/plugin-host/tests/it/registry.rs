//! Built-in plugins, files that take their place, and swapping while jobs run.

use std::fs;
use std::path::Path;

use lote_model::framework::{Frameworks, PlanError};
use lote_plugin_host::{Builtin, Host, Registry};
use serde_json::json;

use crate::components::{allocation, bytes, job};

/// The bytes live as long as the test program, as those of a real daemon do.
fn builtins() -> &'static [Builtin] {
    let builtin = |name: &'static str| Builtin {
        name,
        component: Box::leak(bytes(name).into_boxed_slice()),
    };
    Box::leak(Box::new([builtin("custom"), builtin("pytorch")]))
}

/// A registry with compiled code kept in one place, so that each test compiles once.
fn open(folder: &Path) -> Registry {
    let host = Host::new(Some(&folder.join("compiled"))).unwrap();
    Registry::open(host, builtins(), Some(folder.join("plugins")))
}

fn origins(registry: &Registry) -> Vec<(String, bool)> {
    let plugins = registry.list().into_iter();
    plugins
        .map(|info| (info.descriptor.name, info.origin == "built in"))
        .collect()
}

fn named(name: &str, builtin: bool) -> (String, bool) {
    (name.to_owned(), builtin)
}

#[test]
fn plugins_are_found_by_their_settings_member() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path());
    assert_eq!(registry.failures(), []);
    assert_eq!(
        registry.members(),
        ["customToolkitSettings", "pyTorchSettings"]
    );
    let plugin = registry.by_member("pyTorchSettings").unwrap();
    assert_eq!(plugin.info().descriptor.name, "pytorch");
    assert!(registry.by_member("pytorchsettings").is_none());
}

#[test]
fn files_extend_and_replace_and_broken_ones_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    let registry = open(folder.path());

    fs::write(plugins.join("a.wasm"), bytes("test/hostile")).unwrap();
    fs::write(plugins.join("b.wasm"), bytes("custom")).unwrap();
    fs::write(plugins.join("c.wasm"), b"nonsense").unwrap();
    fs::write(plugins.join("d.wasm"), bytes("custom")).unwrap();
    fs::write(plugins.join("notes.txt"), b"not a plugin").unwrap();
    registry.reload();
    assert_eq!(
        origins(&registry),
        [
            named("custom", false),
            named("hostile", false),
            named("pytorch", true)
        ]
    );
    let failures = registry.failures();
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(
        failures[0].origin.ends_with("c.wasm") && failures[0].message.contains("not a WebAssembly")
    );
    assert!(failures[1].origin.ends_with("d.wasm") && failures[1].message.contains("b.wasm"));

    // What was loaded from a file stays when the file breaks, and goes with it.
    let running = registry.by_member("hostileSettings").unwrap();
    fs::write(plugins.join("a.wasm"), b"half a fi").unwrap();
    registry.reload();
    assert!(registry.by_member("hostileSettings").is_some());
    fs::remove_file(plugins.join("a.wasm")).unwrap();
    fs::remove_file(plugins.join("b.wasm")).unwrap();
    fs::remove_file(plugins.join("d.wasm")).unwrap();
    registry.reload();
    assert_eq!(
        origins(&registry),
        [named("custom", true), named("pytorch", true)]
    );
    // Whoever still holds it can finish.
    assert!(running.plan(&job(json!({})), &allocation()).is_ok());
}

#[test]
fn the_model_sees_frameworks_without_plugins() {
    let folder = tempfile::tempdir().unwrap();
    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    fs::write(plugins.join("hostile.wasm"), bytes("test/hostile")).unwrap();
    let registry = open(folder.path());

    let valid = registry
        .validate(
            "pyTorchSettings",
            &job(json!({"pythonScriptFilePath": "train.py"})),
        )
        .unwrap();
    assert_eq!(valid.tool_type, "pytorch");
    assert_eq!(valid.settings["processCount"], 1);
    let problem = registry
        .validate("pyTorchSettings", &job(json!({"processCount": 0})))
        .unwrap_err();
    assert_eq!(
        problem.target.as_deref(),
        Some("/properties/pyTorchSettings/pythonScriptFilePath")
    );
    assert_eq!(problem.details.len(), 2);
    let problem = registry
        .validate("abacusSettings", &job(json!({})))
        .unwrap_err();
    assert_eq!(
        problem.target.as_deref(),
        Some("/properties/abacusSettings")
    );

    let bad = registry.plan(
        "hostileSettings",
        &job(json!({"act": "dotdot"})),
        &allocation(),
    );
    let Err(PlanError::Failed(record)) = bad else {
        panic!("{bad:?}")
    };
    let details: Vec<&str> = record.details.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(details, ["plugin", "step", "finding"]);
    assert!(
        record.message.contains("/files/0/path"),
        "{}",
        record.message
    );
    let mpi = json!({"pythonScriptFilePath": "x", "communicationBackend": "MPI"});
    let unsuitable = registry.plan("pyTorchSettings", &job(mpi), &allocation());
    assert!(
        matches!(unsuitable, Err(PlanError::Unsuitable(_))),
        "{unsuitable:?}"
    );
}
