//! Jobs and their files.

use jiff::Timestamp;
use lote_model::accounting::GpuAccount;
use lote_model::job::ErrorRecord;
use lote_model::quantity::format_bytes;
use lote_model::state::ExecutionState;

use super::sample::{short, watt_hours};
use super::{names, time};
use crate::answer::{File, Job, JobMembers, Preparing, last_part};
use crate::output::{Cell, Colour, Details, Style, Table, day_and_time, seconds, span_between};

/// The word for a job's state, as in the API.
fn word(state: ExecutionState) -> &'static str {
    match state {
        ExecutionState::Queued => "queued",
        ExecutionState::Running => "running",
        ExecutionState::Terminating => "terminating",
        ExecutionState::Succeeded => "succeeded",
        ExecutionState::Failed => "failed",
    }
}

fn colour(state: ExecutionState) -> Colour {
    match state {
        ExecutionState::Queued => Colour::Dim,
        ExecutionState::Running | ExecutionState::Terminating => Colour::Yellow,
        ExecutionState::Succeeded => Colour::Green,
        ExecutionState::Failed => Colour::Red,
    }
}

/// Many jobs, one line each. With `experiments` their experiments are shown.
pub fn job_table(jobs: &[Job], experiments: bool, style: Style) -> String {
    let mut table = Table::new(&[
        "NAME",
        "EXPERIMENT",
        "CLUSTER",
        "TOOL",
        "NODES",
        "STATE",
        "EXIT",
        "CREATED",
    ]);
    let mut short = Table::new(&[
        "NAME", "CLUSTER", "TOOL", "NODES", "STATE", "EXIT", "CREATED",
    ]);
    for job in jobs {
        let members = &job.properties;
        let name = Cell::from(job.name.as_str());
        let rest: [Cell; 6] = [
            last_part(&members.cluster.id).into(),
            members.tool_type.as_str().into(),
            members.node_count.to_string().into(),
            Cell::coloured(
                word(members.execution_state),
                Some(colour(members.execution_state)),
            ),
            members
                .execution_info
                .exit_code
                .map(|code| code.to_string())
                .unwrap_or_default()
                .into(),
            time(members.creation_time).into(),
        ];
        let [cluster, tool, nodes, state, exit, created] = rest;
        if experiments {
            let experiment = members.experiment_name.as_deref().unwrap_or_default();
            table.row([
                name,
                experiment.into(),
                cluster,
                tool,
                nodes,
                state,
                exit,
                created,
            ]);
        } else {
            short.row([name, cluster, tool, nodes, state, exit, created]);
        }
    }
    if experiments { table } else { short }.render(style, "no jobs")
}

/// Everything about one job. `now` counts the time of what goes on.
pub fn job_details(job: &Job, now: Timestamp, style: Style) -> String {
    let members = &job.properties;
    let mut details = Details::default();
    details
        .add("job", job.name.as_str())
        .add("state", state_line(members, now, style))
        .add_some("waiting", members.lote.waiting.as_deref());
    for Preparing { node, doing } in &members.lote.preparing {
        details.add("preparing", format!("{doing} on {node}"));
    }
    details
        .add_some("requeued", members.lote.requeued.as_ref().map(requeued))
        .add_some("experiment", members.experiment_name.as_deref())
        .add("cluster", last_part(&members.cluster.id))
        .add("framework", members.tool_type.as_str())
        .add("nodes", nodes_line(members));
    if members.lote.attempt > 1 {
        details.add("attempt", members.lote.attempt.to_string());
    }
    details.add_some("started in", members.lote.working_directory.as_deref());
    add_times(&mut details, members, now);
    details.add_some("used", used(members));
    for directory in &members.lote.directories {
        let label = format!("{} on {}", directory.id, directory.node);
        details.add("files", format!("{label}: {}", directory.path));
    }
    let mut text = details.render(style);
    for error in &members.execution_info.errors {
        text.push('\n');
        text.push_str(&style.paint(Colour::Red, "error"));
        text.push('\n');
        text.push_str(&error_block(error));
        text.push('\n');
    }
    text
}

/// Why the attempt before was given up.
fn requeued(reason: &ErrorRecord) -> String {
    format!("{}: {}", reason.code, reason.message)
}

fn state_line(members: &JobMembers, now: Timestamp, style: Style) -> String {
    let state = members.execution_state;
    let mut parts = vec![style.paint(colour(state), word(state))];
    if let Some(code) = members.execution_info.exit_code {
        parts.push(format!("exit code {code}"));
    }
    let since = members.execution_state_transition_time;
    if let Some(since) = since.filter(|_| !state.is_terminal()) {
        parts.push(format!("for {}", span_between(since, now)));
    }
    if members.provisioning_state.as_deref() == Some("deleting") {
        parts.push("being deleted".into());
    }
    parts.join(", ")
}

fn nodes_line(members: &JobMembers) -> String {
    let nodes = &members.lote.nodes;
    if nodes.is_empty() {
        members.node_count.to_string()
    } else {
        format!("{}: {}", members.node_count, names(nodes))
    }
}

fn add_times(details: &mut Details, members: &JobMembers, now: Timestamp) {
    let info = &members.execution_info;
    details.add_some("created", members.creation_time.map(day_and_time));
    details.add_some(
        "started",
        info.start_time.map(|start| match members.creation_time {
            Some(created) => format!(
                "{} (waited {})",
                day_and_time(start),
                span_between(created, start)
            ),
            None => day_and_time(start),
        }),
    );
    details.add_some(
        "ended",
        info.end_time.map(|end| {
            let start = info.start_time.unwrap_or(end);
            format!("{} (ran {})", day_and_time(end), span_between(start, end))
        }),
    );
    if info.end_time.is_none() {
        details.add_some(
            "running for",
            info.start_time.map(|start| span_between(start, now)),
        );
    }
}

fn used(members: &JobMembers) -> Option<String> {
    let account = members.lote.account.as_ref()?;
    let mut parts = vec![
        format!("processor time {}", seconds(account.cpu_seconds)),
        format!("memory at most {}", format_bytes(account.memory_peak_bytes)),
        format!("node time {}", seconds(account.node_seconds)),
    ];
    if account.gpu_seconds > 0.0 {
        parts.push(format!("GPU time {}", seconds(account.gpu_seconds)));
    }
    parts.extend(
        account
            .read_bytes
            .map(|bytes| format!("read {}", format_bytes(bytes))),
    );
    parts.extend(
        account
            .written_bytes
            .map(|bytes| format!("wrote {}", format_bytes(bytes))),
    );
    parts.extend(account.gpus.iter().map(used_of_gpu));
    Some(parts.join("\n"))
}

/// `gpu1 H100 GPU-8f1c…: 93.1 % (at most 100 %), memory 40g (at most 61g), 0.4 kWh, held back 12 s`
fn used_of_gpu(gpu: &GpuAccount) -> String {
    let uuid = short(&gpu.uuid);
    let mut parts = Vec::new();
    if let Some(mean) = gpu.utilization_mean {
        let peak = gpu.utilization_peak.unwrap_or_default();
        parts.push(format!("busy {mean:.1} % (at most {peak} %)"));
    }
    if let (Some(mean), Some(peak)) = (gpu.memory_mean_bytes, gpu.memory_peak_bytes) {
        let (mean, peak) = (format_bytes(mean), format_bytes(peak));
        parts.push(format!("memory {mean} (at most {peak})"));
    }
    parts.extend(gpu.energy_joules.map(watt_hours));
    let throttled = gpu.throttled_seconds.filter(|seconds| *seconds > 0.0);
    parts.extend(throttled.map(|time| format!("held back by heat or power for {}", seconds(time))));
    if parts.is_empty() {
        parts.push("not measured".into());
    }
    format!("{} {} {uuid}: {}", gpu.node, gpu.model, parts.join(", "))
}

/// An error with its details, indented: code and sentence, then name and value;
/// a value of several lines, such as the end of stderr, below its name.
pub fn error_block(error: &ErrorRecord) -> String {
    let width = error
        .details
        .iter()
        .map(|detail| detail.name.chars().count())
        .max()
        .unwrap_or(0);
    let mut lines = vec![format!("  {}: {}", error.code, error.message)];
    for detail in &error.details {
        let (name, value) = (&detail.name, detail.value.trim_end());
        if value.contains('\n') {
            lines.push(format!("    {name}"));
            lines.extend(value.lines().map(|line| format!("      | {line}")));
        } else {
            lines.push(format!("    {name:<width$}  {value}"));
        }
    }
    lines.join("\n")
}

/// The files of a directory, with links that work for an hour without a token.
pub fn file_table(files: &[File], style: Style) -> String {
    let mut table = Table::new(&["NAME", "SIZE", "MODIFIED", "LINK"]);
    for file in files {
        let is_directory = file.file_type == "directory";
        let name = if is_directory {
            format!("{}/", file.name)
        } else {
            file.name.clone()
        };
        let size = file
            .properties
            .content_length
            .map(format_bytes)
            .unwrap_or_default();
        let link = file.download_url.as_deref().unwrap_or_default();
        table.row([
            name.into(),
            size.into(),
            time(file.properties.last_modified).into(),
            link.into(),
        ]);
    }
    table.render(style, "no files (yet)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::read;
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-08-04T10:20:00Z".parse().unwrap()
    }

    fn failed() -> Job {
        read(&json!({
            "id": "/v1/groups/default/workspaces/default/experiments/default/jobs/train",
            "name": "train", "type": "Microsoft.BatchAI/workspaces/experiments/jobs",
            "properties": {
                "experimentName": "default", "nodeCount": 2, "toolType": "pytorch",
                "cluster": {"id": "/v1/groups/default/workspaces/default/clusters/local"},
                "creationTime": "2026-08-04T10:15:30Z", "provisioningState": "succeeded",
                "executionState": "failed", "executionStateTransitionTime": "2026-08-04T10:16:43Z",
                "executionInfo": {
                    "startTime": "2026-08-04T10:15:31.5Z", "endTime": "2026-08-04T10:16:43Z", "exitCode": 1,
                    "errors": [{"code": "JobFailed", "message": "Job failed with non-zero exit code", "details": [
                        {"name": "node", "value": "b"}, {"name": "step", "value": "process rank-1"},
                        {"name": "command", "value": "exec python train.py"},
                        {"name": "stderr", "value": "Traceback (most recent call last):\n  File \"train.py\", line 3\nValueError: no data\n"}]}]},
                "lote": {
                    "uid": "u", "attempt": 2, "nodes": ["a", "b"], "workingDirectory": "/home/u/code",
                    "account": {"cpuSeconds": 133.21, "memoryPeakBytes": 536_870_912_u64, "nodeSeconds": 143.0, "gpuSeconds": 286.0},
                    "directories": [{"id": "stdouterr", "node": "a", "path": "/var/lib/lote/x/stdouterr"},
                                    {"id": "MODEL", "node": "a", "path": "/var/lib/lote/x/outputs/MODEL"}]}
            }}))
        .unwrap()
    }

    fn waiting() -> Job {
        read(&json!({"name": "big", "properties": {
            "experimentName": "e2", "nodeCount": 4, "toolType": "custom", "cluster": {"id": "/v1/c/gpu"},
            "creationTime": "2026-08-04T10:15:00Z", "executionState": "queued", "executionInfo": null,
            "executionStateTransitionTime": "2026-08-04T10:15:00Z",
            "lote": {"attempt": 0, "waiting": "needs 4 free nodes, 1 is free; 3 are held by train"}}}))
        .unwrap()
    }

    #[test]
    fn a_failed_job_says_where_and_why() {
        insta::assert_snapshot!(job_details(&failed(), now(), Style::Plain));
    }

    #[test]
    fn a_waiting_job_says_what_it_waits_for() {
        insta::assert_snapshot!(job_details(&waiting(), now(), Style::Plain));
    }

    #[test]
    fn a_job_that_is_being_prepared_says_what_takes_long() {
        let job: Job = read(&json!({"name": "big", "properties": {
            "experimentName": "e2", "nodeCount": 2, "toolType": "custom", "cluster": {"id": "/v1/c/gpu"},
            "creationTime": "2026-08-04T10:15:00Z", "executionState": "running",
            "executionInfo": {"startTime": "2026-08-04T10:15:00Z"},
            "executionStateTransitionTime": "2026-08-04T10:15:00Z",
            "lote": {"attempt": 1, "nodes": ["a", "b"], "preparing": [
                {"node": "a", "doing": "pulling the image: 1.5 GiB so far", "at": "2026-08-04T10:16:00Z"},
                {"node": "b", "doing": "mounting 'data'", "at": "2026-08-04T10:16:00Z"}]}}}))
        .unwrap();
        insta::assert_snapshot!(job_details(&job, now(), Style::Plain));
    }

    #[test]
    fn jobs_in_a_list() {
        insta::assert_snapshot!(job_table(&[failed(), waiting()], false, Style::Plain));
        insta::assert_snapshot!(job_table(&[failed(), waiting()], true, Style::Plain));
    }

    #[test]
    fn files_in_a_list() {
        let files: Vec<File> = read(&json!([
            {"name": "stdout.txt", "fileType": "file", "downloadUrl": "http://h/files/x/stdout.txt",
             "properties": {"lastModified": "2026-08-04T10:15:31Z", "contentLength": 1536}},
            {"name": "counters", "fileType": "directory"}]))
        .unwrap();
        insta::assert_snapshot!(file_table(&files, Style::Plain));
        assert_eq!(file_table(&[], Style::Plain), "no files (yet)\n");
    }
}
