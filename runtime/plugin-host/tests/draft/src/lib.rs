//! A plugin built against the draft of a next contract: one process per node.

/// Generated from the draft.
#[allow(
    unsafe_code,
    unreachable_pub,
    missing_docs,
    clippy::pedantic,
    clippy::crate_in_macro_def,
    clippy::undocumented_unsafe_blocks,
    clippy::allow_attributes_without_reason,
    reason = "generated: the raw calls of the component's interface"
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "framework-plugin",
        pub_export_macro: true,
        export_macro_name: "export_draft",
        default_bindings_module: "crate::bindings",
    });
}

use bindings::exports::lote::framework::framework::{Descriptor, Guest};
use bindings::lote::framework::types::{
    Allocation, Command, GpuShare, Issue, Job, LaunchPlan, OnFailure, Part, PlanFailure, Process,
};

/// The plugin.
#[derive(Debug)]
pub struct Draft;

impl Guest for Draft {
    fn describe() -> Descriptor {
        Descriptor {
            name: "draft".to_owned(),
            settings_member: None,
            summary: "Tells the memory of each node's GPUs".to_owned(),
            version: "0.2.0".to_owned(),
            settings_schema: r#"{"examples": [{}]}"#.to_owned(),
            starts_peers: false,
        }
    }

    fn validate(job: Job) -> Result<String, Vec<Issue>> {
        Ok(job.settings)
    }

    fn plan(_job: Job, allocation: Allocation) -> Result<LaunchPlan, PlanFailure> {
        let process = |(rank, node): (u32, &bindings::lote::framework::types::Node)| {
            let bytes: u64 = node.gpus.iter().map(|gpu| gpu.memory_bytes).sum();
            Process {
                name: format!("node-{rank}"),
                node: rank,
                command: Command::Argv(vec!["echo".to_owned(), bytes.to_string()]),
                variables: vec![],
                working_directory: None,
                output: Some(rank.to_string()),
                gpus: GpuShare::All,
                part: Part::Primary,
                on_failure: OnFailure::FailJob,
                stage: 0,
                grace_seconds: Some(5),
            }
        };
        Ok(LaunchPlan {
            variables: vec![],
            files: vec![],
            processes: (0..).zip(&allocation.nodes).map(process).collect(),
            finish: vec![],
        })
    }
}

#[cfg(target_arch = "wasm32")]
#[allow(
    unsafe_code,
    clippy::pedantic,
    clippy::crate_in_macro_def,
    reason = "the generated exports are the raw calls of the component's interface"
)]
mod component_exports {
    use super::Draft;
    crate::bindings::export_draft!(Draft with_types_in crate::bindings);
}
