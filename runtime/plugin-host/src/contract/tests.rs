//! Two versions of the contract in one host, and what keeps a published one as it is.

use std::path::{Path, PathBuf};

use lote_model::framework::PLUGIN_SETTINGS;
use lote_model::plan::{
    AllocatedGpu, AllocatedNode, AllocationInput, Command, JobInput, LaunchPlan,
};
use serde_json::{Value, json};

use crate::{Host, Plugin, Problem, digest};

/// SHA-256 of `wit/0.1/framework.wit` as it was published. It never changes again: a
/// change of the contract is a new folder beside it (`wit/README.md`).
const PUBLISHED_0_1: &str = "86702bf02257f287dd14b3f5d0ef0a33840969634ddb04b162be6b2d52546d04";

#[test]
fn the_published_contract_is_frozen() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/0.1/framework.wit");
    assert_eq!(
        digest(&std::fs::read(file).unwrap()),
        PUBLISHED_0_1,
        "wit/0.1 is published: plugins are built against it. Make a wit/0.2 instead"
    );
}

fn bytes(name: &str) -> Vec<u8> {
    let default = || {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
        std::env::var_os("CARGO_TARGET_DIR")
            .map_or(root, PathBuf::from)
            .join("plugins")
    };
    let folder = std::env::var_os("LOTE_PLUGIN_DIR").map_or_else(default, PathBuf::from);
    std::fs::read(folder.join(format!("{name}.wasm"))).unwrap()
}

fn plan(plugin: &Plugin, settings: Value) -> LaunchPlan {
    let job = JobInput {
        id: "j".to_owned(),
        node_count: 2,
        settings,
        mounts: vec![],
        variables: vec![],
    };
    let node = |rank: u32| AllocatedNode {
        rank,
        name: format!("n{rank}"),
        address: format!("10.0.0.{}", rank + 4),
        gpus: vec![AllocatedGpu {
            uuid: format!("GPU-{rank}"),
            minor: 0,
            memory_mib: 16 << 10,
        }],
        cpu_cores: 4,
        ports: vec![2222],
    };
    let allocation = AllocationInput {
        nodes: (0..2).map(node).collect(),
        shared_scratch: None,
        local_scratch: "/scratch/j".to_owned(),
        peer_launcher: None,
        attempt: 1,
    };
    plugin.plan(&job, &allocation).unwrap().plan().clone()
}

/// What a host with a version 0.2 does: each plugin is called in the shapes that it was
/// built for, and the rest of the runtime cannot tell them apart.
#[test]
fn plugins_of_two_contracts_are_planned_by_one_host() {
    let host = Host::new(None).unwrap();
    let old = host.load("custom", &bytes("custom")).unwrap();
    let new = host.load("draft", &bytes("test/draft")).unwrap();
    assert_eq!(old.info().contract, "0.1.0");
    assert_eq!(new.info().contract, "0.2.0");
    assert_eq!(new.info().descriptor.settings_member, PLUGIN_SETTINGS);

    let planned = plan(&old, json!({"commandLine": "date"}));
    assert_eq!(
        planned.processes[0].command,
        Command::Shell("date".to_owned())
    );
    let planned = plan(&new, json!({}));
    let told: Vec<&Command> = planned.processes.iter().map(|it| &it.command).collect();
    let bytes = (16_u64 << 30).to_string();
    let expected = Command::Argv(vec!["echo".to_owned(), bytes]);
    assert_eq!(told, [&expected, &expected]);
}

#[test]
fn a_version_that_no_module_covers_is_refused_with_all_that_are() {
    let component = wat::parse_str(
        r#"(component
            (instance $empty)
            (export "lote:framework/framework@0.3.0" (instance $empty)))"#,
    );
    let host = Host::new(None).unwrap();
    let error = host.load("late.wasm", &component.unwrap()).unwrap_err();
    let Problem::OtherContract { built_for, offered } = *error.problem else {
        panic!("{error:?}")
    };
    assert_eq!(built_for, "lote:framework/framework@0.3.0");
    assert_eq!(offered, "0.1.0 and 0.2.0");
}

/// An interface of another version beside the right one would be called in wrong shapes.
#[test]
fn a_component_has_one_contract() {
    let component = wat::parse_str(
        r#"(component
            (import "lote:framework/diagnostics@0.2.0" (instance))
            (instance $empty)
            (export "lote:framework/framework@0.1.0" (instance $empty)))"#,
    );
    let host = Host::new(None).unwrap();
    let error = host.load("mixed.wasm", &component.unwrap()).unwrap_err();
    assert!(
        matches!(*error.problem, Problem::OtherContract { .. }),
        "{error:?}"
    );
}
