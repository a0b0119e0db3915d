//! A first job that every new plugin is given: the same answers twice, and no plan
//! that would be refused.

use lote_model::plan::{AllocatedGpu, AllocatedNode, AllocationInput, JobInput};
use lote_model::plan_check;
use serde_json::{Value, json};

use crate::error::Problem;
use crate::plugin::Calls;

/// What came of the first job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was planned, twice alike.
    Planned {
        /// The plan's processes.
        processes: usize,
    },
    /// The plugin declined, twice alike, as it may. Whether that was an example of its own.
    Declined { of_an_example: bool },
}

/// Runs `validate` and `plan` twice each. The settings are the first of the schema's
/// `examples`; a plugin without one is at least asked about an empty object.
pub(crate) fn check(calls: &Calls<'_>, schema: &Value) -> Result<Verdict, Problem> {
    let (job, allocation) = (job(schema), allocation());
    if calls.validate(&job).result? != calls.validate(&job).result? {
        return Err(Problem::Unpredictable { what: "settings" });
    }
    let plan = calls.plan(&job, &allocation).result?;
    if plan != calls.plan(&job, &allocation).result? {
        return Err(Problem::Unpredictable { what: "plans" });
    }
    let Ok(plan) = plan else {
        return Ok(Verdict::Declined {
            of_an_example: example(schema).is_some(),
        });
    };
    let processes = plan.processes.len();
    plan_check::check(plan, &allocation)
        .map(|_| Verdict::Planned { processes })
        .map_err(|findings| Problem::PlanRefused { findings })
}

fn example(schema: &Value) -> Option<&Value> {
    schema.pointer("/examples/0")
}

fn job(schema: &Value) -> JobInput {
    JobInput {
        id: "conformance".to_owned(),
        node_count: 2,
        settings: example(schema).cloned().unwrap_or_else(|| json!({})),
        mounts: vec![],
        variables: vec![],
    }
}

fn allocation() -> AllocationInput {
    AllocationInput {
        nodes: (0..2).map(node).collect(),
        shared_scratch: None,
        local_scratch: "/scratch/conformance".to_owned(),
        peer_launcher: Some("/usr/bin/lote-peer".to_owned()),
        attempt: 1,
    }
}

fn node(rank: u32) -> AllocatedNode {
    AllocatedNode {
        rank,
        name: format!("node-{rank}"),
        address: format!("192.0.2.{}", rank + 1),
        gpus: vec![AllocatedGpu {
            uuid: format!("GPU-{rank}"),
            minor: 0,
            memory_mib: 16 << 10,
        }],
        cpu_cores: 4,
        ports: vec![2222, 2223],
    }
}
