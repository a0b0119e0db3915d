//! The answer about a job (capabilities §3.5 and A.2).

use jiff::Timestamp;
use lote_model::job::{JobRecord, JobStatus};
use lote_model::report::{Report, ReportPhase};
use lote_model::state::ExecutionState;
use serde_json::{Map, Value, json};

use crate::records::provisioning;
use crate::request::Caller;
use crate::time::is_held_back;

/// What a caller is told about where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    state: ExecutionState,
    since: Timestamp,
}

/// What to show of a job. `hold_back` is the time at which an old client asks.
fn shown(record: &JobRecord, status: Option<&JobStatus>, hold_back: Option<Timestamp>) -> Shown {
    let held =
        |status: &JobStatus| hold_back.is_some_and(|now| is_held_back(status.state_since, now));
    match status {
        Some(status) if status.state.is_terminal() && !held(status) => Shown {
            state: status.state,
            since: status.state_since,
        },
        _ => live(record, status),
    }
}

/// A job that has not ended, as far as the caller knows.
fn live(record: &JobRecord, status: Option<&JobStatus>) -> Shown {
    let started = status.and_then(|status| status.start_time);
    let ended = status.is_some_and(|status| status.state.is_terminal());
    match (record.terminate_requested_at, status) {
        (Some(since), _) => Shown {
            state: ExecutionState::Terminating,
            since,
        },
        (None, Some(status)) if !ended => Shown {
            state: status.state,
            since: status.state_since,
        },
        (None, _) => match started {
            Some(since) => Shown {
                state: ExecutionState::Running,
                since,
            },
            None => Shown {
                state: ExecutionState::Queued,
                since: record.created_at,
            },
        },
    }
}

/// The whole resource.
pub(crate) fn job(
    record: &JobRecord,
    status: Option<&JobStatus>,
    caller: &Caller,
    now: Timestamp,
) -> Value {
    let shown = shown(record, status, caller.is_old_client().then_some(now));
    let mut properties = record.properties_with_settings();
    properties.insert(
        "cluster".into(),
        json!({"id": record.cluster.id(&caller.style, "clusters")}),
    );
    properties.insert("experimentName".into(), json!(record.path.experiment));
    properties.insert("toolType".into(), json!(record.framework.tool_type));
    properties.insert(
        "jobOutputDirectoryPathSegment".into(),
        json!(record.output_segment),
    );
    properties.extend(provisioning(record.created_at, record.delete_requested_at));
    properties.insert("executionState".into(), json!(shown.state));
    properties.insert("executionStateTransitionTime".into(), json!(shown.since));
    if let Some(info) = status.and_then(|status| execution_info(status, shown)) {
        properties.insert("executionInfo".into(), info);
    }
    properties.insert("lote".into(), extras(record, status, shown));
    json!({
        "id": record.path.id(&caller.style),
        "name": record.path.job,
        "type": "Microsoft.BatchAI/workspaces/experiments/jobs",
        "properties": properties,
    })
}

/// Adds what nodes do that are not prepared yet to a whole resource.
pub(crate) fn add_preparing(job: &mut Value, reports: &[Report]) {
    let nodes: Vec<Value> = reports
        .iter()
        .filter_map(|report| match &report.phase {
            ReportPhase::Preparing { doing } => {
                Some(json!({"node": report.node, "doing": doing, "at": report.at}))
            }
            _ => None,
        })
        .collect();
    if !nodes.is_empty() {
        job["properties"]["lote"]["preparing"] = json!(nodes);
    }
}

/// `executionInfo`; absent while the job has never started. Old clients rely on
/// both times and on the list of errors in every finished job.
fn execution_info(status: &JobStatus, shown: Shown) -> Option<Value> {
    if !shown.state.is_terminal() {
        let waits = matches!(shown.state, ExecutionState::Queued);
        return status
            .start_time
            .filter(|_| !waits)
            .map(|start| json!({ "startTime": start }));
    }
    let end = status.end_time.unwrap_or(status.state_since);
    let mut info = Map::new();
    info.insert("startTime".into(), json!(status.start_time.unwrap_or(end)));
    info.insert("endTime".into(), json!(end));
    if let Some(exit_code) = status.exit_code {
        info.insert("exitCode".into(), json!(exit_code));
    }
    info.insert("errors".into(), json!(status.errors));
    Some(Value::Object(info))
}

/// What Batch AI has no word for: the user's own `lote` settings and ours.
fn extras(record: &JobRecord, status: Option<&JobStatus>, shown: Shown) -> Value {
    let mut members = match serde_json::to_value(&record.properties.lote) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    members.insert("uid".into(), json!(record.uid));
    if let Some(plugin) = &record.framework.plugin {
        members.insert("framework".into(), json!(plugin));
    }
    members.insert(
        "attempt".into(),
        json!(status.map_or(0, |status| status.attempt)),
    );
    if let Some(status) = status {
        members.insert("nodes".into(), json!(status.nodes));
        if let Some(waiting) = status
            .waiting
            .as_ref()
            .filter(|_| !shown.state.is_terminal())
        {
            members.insert("waiting".into(), json!(waiting));
        }
        if let Some(reason) = &status.requeued {
            members.insert("requeued".into(), json!(reason));
        }
        if shown.state.is_terminal() {
            members.extend(
                status
                    .account
                    .as_ref()
                    .map(|account| ("account".into(), json!(account))),
            );
            members.insert("directories".into(), json!(status.directories));
        }
    }
    Value::Object(members)
}
