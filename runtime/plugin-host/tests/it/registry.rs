//! Built-in plugins, files that take their place, and swapping while jobs run.

use std::fs;
use std::path::Path;

use lote_model::framework::{
    Frameworks, PLUGIN_SETTINGS, PlanError, PluginRequest, ValidatedSettings,
};
use lote_model::job::FrameworkSettings;
use lote_plugin_host::{Builtin, Host, Registry, Sources, digest};
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
fn open_with(folder: &Path, allow: Option<&Path>) -> Registry {
    let host = Host::new(Some(&folder.join("compiled"))).unwrap();
    let sources = Sources {
        builtins: builtins(),
        folder: Some(folder.join("plugins")),
        allow: allow.map(Path::to_owned),
    };
    Registry::open(host, sources).unwrap()
}

fn open(folder: &Path) -> Registry {
    open_with(folder, None)
}

fn of(member: &str) -> PluginRequest {
    PluginRequest::of_member(member)
}

fn named_version(text: &str) -> PluginRequest {
    PluginRequest {
        member: PLUGIN_SETTINGS.to_owned(),
        plugin: Some(text.parse().unwrap()),
    }
}

fn framework(request: &PluginRequest, valid: Option<&ValidatedSettings>) -> FrameworkSettings {
    FrameworkSettings {
        member: request.member.clone(),
        tool_type: String::new(),
        settings: json!({}),
        asked: request.plugin.clone(),
        plugin: valid.map(|valid| valid.plugin.clone()),
        starts_peers: valid.is_some_and(|valid| valid.starts_peers),
    }
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
            &of("pyTorchSettings"),
            &job(json!({"pythonScriptFilePath": "train.py"})),
        )
        .unwrap();
    assert_eq!(valid.tool_type, "pytorch");
    assert_eq!(valid.settings["processCount"], 1);
    let problem = registry
        .validate(&of("pyTorchSettings"), &job(json!({"processCount": 0})))
        .unwrap_err();
    assert_eq!(
        problem.target.as_deref(),
        Some("/properties/pyTorchSettings/pythonScriptFilePath")
    );
    assert_eq!(problem.details.len(), 2);
    let problem = registry
        .validate(&of("abacusSettings"), &job(json!({})))
        .unwrap_err();
    assert_eq!(
        problem.target.as_deref(),
        Some("/properties/abacusSettings")
    );

    let bad = registry.plan(
        &framework(&of("hostileSettings"), None),
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
    let pytorch = json!({"pythonScriptFilePath": "x"});
    let mut without_ports = allocation();
    without_ports.nodes[0].ports.clear();
    let unsuitable = registry.plan(
        &framework(&of("pyTorchSettings"), None),
        &job(pytorch),
        &without_ports,
    );
    assert!(
        matches!(unsuitable, Err(PlanError::Unsuitable(_))),
        "{unsuitable:?}"
    );
}

/// The plugin for tests as another version of itself: its version stands in its data.
fn hostile(version: &str) -> Vec<u8> {
    let mut bytes = bytes("test/hostile");
    let old = b"6.6.6";
    assert_eq!(version.len(), old.len());
    let places: Vec<usize> = bytes
        .windows(old.len())
        .enumerate()
        .filter_map(|(at, window)| (window == old).then_some(at))
        .collect();
    assert_eq!(places.len(), 1, "{places:?}");
    bytes[places[0]..places[0] + old.len()].copy_from_slice(version.as_bytes());
    bytes
}

fn versions(registry: &Registry) -> Vec<(String, bool)> {
    let plugins = registry.plugins().into_iter();
    plugins
        .filter(|plugin| plugin.name == "hostile")
        .map(|plugin| (plugin.version, plugin.is_default))
        .collect()
}

#[test]
fn versions_live_side_by_side_and_the_highest_is_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    for version in ["6.6.6", "6.7.0", "6.6.7"] {
        fs::write(
            plugins.join(format!("hostile@{version}.wasm")),
            hostile(version),
        )
        .unwrap();
    }
    let registry = open(folder.path());
    assert_eq!(registry.failures(), []);
    let all = [("6.7.0", true), ("6.6.7", false), ("6.6.6", false)];
    assert_eq!(
        versions(&registry),
        all.map(|(version, is_default)| (version.to_owned(), is_default))
    );

    let input = job(json!({}));
    let validated = |request: &PluginRequest| registry.validate(request, &input).unwrap();
    for request in [of("hostileSettings"), named_version("hostile")] {
        assert_eq!(validated(&request).plugin.version, "6.7.0");
    }
    let pinned = named_version("hostile@6.6.7");
    let accepted = validated(&pinned);
    assert_eq!(accepted.plugin.version, "6.6.7");
    assert_eq!(accepted.plugin.digest, digest(&hostile("6.6.7")));
    let newest = validated(&of("hostileSettings"));

    for (text, place) in [
        ("hostile@6.6.8", "6.7.0, 6.6.7, 6.6.6"),
        ("gone", "custom, hostile, pytorch"),
    ] {
        let problem = registry.validate(&named_version(text), &input).unwrap_err();
        assert_eq!(
            problem.target.as_deref(),
            Some("/properties/pluginSettings/name")
        );
        assert!(problem.message.contains(place), "{}", problem.message);
    }
    let other = PluginRequest {
        plugin: named_version("custom").plugin,
        ..of("hostileSettings")
    };
    let problem = registry.validate(&other, &input).unwrap_err();
    assert_eq!(problem.target.as_deref(), Some("/properties/lote/plugin"));

    // The two versions go; one job asked for its version, the other for none.
    fs::remove_file(plugins.join("hostile@6.7.0.wasm")).unwrap();
    fs::remove_file(plugins.join("hostile@6.6.7.wasm")).unwrap();
    registry.reload();
    let plan = |request: &PluginRequest, valid: &ValidatedSettings| {
        registry.plan(&framework(request, Some(valid)), &input, &allocation())
    };
    let Err(PlanError::Failed(error)) = plan(&pinned, &accepted) else {
        panic!("a version that has gone was planned with")
    };
    assert_eq!(error.code, "FrameworkPluginMissing");
    assert!(error.message.contains("version 6.6.7"), "{}", error.message);
    assert!(error.message.contains("6.6.6"), "{}", error.message);
    let planned = plan(&of("hostileSettings"), &newest).unwrap();
    assert!(planned.plugin.starts_with("hostile 6.6.6 "), "{planned:?}");
}

/// A job that waits is planned by what accepted it, although there is a newer one.
#[test]
fn a_job_is_planned_by_the_version_that_accepted_it() {
    let folder = tempfile::tempdir().unwrap();
    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    fs::write(plugins.join("old.wasm"), hostile("6.6.6")).unwrap();
    let registry = open(folder.path());
    let request = of("hostileSettings");
    let input = job(json!({}));
    let accepted = registry.validate(&request, &input).unwrap();
    fs::write(plugins.join("new.wasm"), hostile("6.7.0")).unwrap();
    registry.reload();
    let framework = framework(&request, Some(&accepted));
    let planned = registry.plan(&framework, &input, &allocation()).unwrap();
    assert!(planned.plugin.starts_with("hostile 6.6.6 "), "{planned:?}");
    let next = registry.validate(&request, &input).unwrap();
    assert_eq!(next.plugin.version, "6.7.0");
}

#[test]
fn only_what_is_on_the_list_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    let list = folder.path().join("allowed");
    fs::write(plugins.join("a.wasm"), hostile("6.6.6")).unwrap();
    fs::write(plugins.join("b.wasm"), hostile("6.7.0")).unwrap();
    let allow = |versions: &[&str]| {
        let line = |version: &&str| format!("{}  hostile.wasm\n", digest(&hostile(version)));
        fs::write(&list, versions.iter().map(line).collect::<String>()).unwrap();
    };
    allow(&["6.6.6"]);
    let registry = open_with(folder.path(), Some(&list));
    assert_eq!(versions(&registry), [("6.6.6".to_owned(), true)]);
    assert!(registry.by_member("pyTorchSettings").is_some(), "built in");
    let rejected = registry.rejected();
    assert_eq!(rejected.len(), 1);
    assert!(rejected[0].origin.ends_with("b.wasm"), "{rejected:?}");
    let digest = digest(&hostile("6.7.0"));
    assert!(
        rejected[0].reason.contains(&format!("{digest}  b.wasm")),
        "it says what to add: {rejected:?}"
    );
    assert_eq!(rejected[0].digest.as_ref(), Some(&digest));

    // What is taken off the list goes, also what was loaded before.
    allow(&["6.7.0"]);
    registry.reload();
    assert_eq!(versions(&registry), [("6.7.0".to_owned(), true)]);
    // A list that breaks stays as it was.
    fs::write(&list, "no digest").unwrap();
    registry.reload();
    assert_eq!(versions(&registry), [("6.7.0".to_owned(), true)]);
    let failures = registry.failures();
    assert!(
        failures.iter().any(|it| it.message.contains("line 1")),
        "{failures:?}"
    );
    // A daemon does not start with one.
    let host = Host::new(None).unwrap();
    let sources = Sources {
        builtins: &[],
        folder: Some(plugins),
        allow: Some(list),
    };
    assert!(Registry::open(host, sources).is_err());
}

/// A file that is being copied is not loaded before it is whole.
#[test]
fn changes_are_seen_once_they_have_settled() {
    let folder = tempfile::tempdir().unwrap();
    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    let registry = open(folder.path());
    assert!(!registry.reload_if_changed());
    let whole = hostile("6.6.6");
    let file = plugins.join("a.wasm");
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    assert!(!registry.reload_if_changed(), "it was not there before");
    fs::write(&file, &whole).unwrap();
    assert!(!registry.reload_if_changed(), "it has grown");
    assert!(registry.reload_if_changed(), "it is the same as before");
    assert_eq!(versions(&registry).len(), 1);
    assert!(!registry.reload_if_changed(), "nothing is new");
    fs::remove_file(&file).unwrap();
    assert!(!registry.reload_if_changed());
    assert!(registry.reload_if_changed());
    assert_eq!(versions(&registry), []);
}
