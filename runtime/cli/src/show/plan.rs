//! Launch plans: which processes start where, with what.

use lote_model::environment::output_file;
use lote_model::plan::{
    Command, FinishStep, GpuShare, OnFailure, Part, PlanFile, Process, Variable,
};
use serde::Deserialize;

use crate::output::{Colour, Details, Style};

/// The answer to `GET` and `POST …/plan`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanAnswer {
    attempt: u32,
    /// Whether it is a dry run, on nodes that only might be given.
    imagined: bool,
    plugin: String,
    nodes: Vec<PlanNode>,
    preparation: Option<String>,
    working_directory: Option<String>,
    #[serde(default)]
    mounts: Vec<PlanMount>,
    #[serde(default)]
    shared_directory: Option<SharedDirectory>,
    #[serde(default)]
    user_variables: Vec<Variable>,
    #[serde(default)]
    variables: Vec<Variable>,
    #[serde(default)]
    files: Vec<PlanFile>,
    #[serde(default)]
    processes: Vec<Process>,
    #[serde(default)]
    finish: Vec<FinishStep>,
}

#[derive(Clone, Debug, Deserialize)]
struct PlanNode {
    name: String,
    address: String,
}

/// A file system that is mounted before anything else is done.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PlanMount {
    path: String,
    kind: String,
    source: String,
    address: Option<String>,
    options: Option<String>,
}

/// What the nodes of a gang share.
#[derive(Clone, Debug, Deserialize)]
struct SharedDirectory {
    address: Option<String>,
    lacks: Option<String>,
}

/// The whole plan as text.
pub fn plan(plan: &PlanAnswer, style: Style) -> String {
    let mut text = head(plan, style);
    section(&mut text, style, "Mounts", plan.mounts.iter().map(mount));
    section(
        &mut text,
        style,
        "Variables of every process",
        variables(plan),
    );
    section(
        &mut text,
        style,
        "Files",
        plan.files.iter().map(|file| file_block(plan, file)),
    );
    section(
        &mut text,
        style,
        "Processes",
        plan.processes
            .iter()
            .map(|process| process_block(plan, process)),
    );
    let finish = plan.finish.iter().map(|step| {
        format!(
            "on {}: {}",
            node_name(plan, step.node),
            command(&step.command)
        )
    });
    section(&mut text, style, "Afterwards", finish);
    text
}

fn head(plan: &PlanAnswer, style: Style) -> String {
    let nodes: Vec<String> = plan
        .nodes
        .iter()
        .enumerate()
        .map(|(rank, node)| format!("{rank}  {} ({})", node.name, node.address))
        .collect();
    let mut details = Details::default();
    if plan.imagined {
        details.add(
            "dry run",
            "on nodes such as the cluster would give; nothing is stored",
        );
    } else {
        details.add("attempt", plan.attempt.to_string());
    }
    details
        .add("plugin", plan.plugin.as_str())
        .add("nodes", nodes.join("\n"))
        .add_some("prepare", plan.preparation.as_deref())
        .add_some("started in", plan.working_directory.as_deref())
        .add_some("shared", plan.shared_directory.as_ref().map(shared));
    details.render(style)
}

fn shared(directory: &SharedDirectory) -> String {
    match (&directory.address, &directory.lacks) {
        (Some(address), _) => format!("$AZ_BATCHAI_SHARED_JOB_TEMP ({address})"),
        (None, Some(lack)) => format!("nothing: {lack}"),
        (None, None) => "nothing".to_owned(),
    }
}

fn section(text: &mut String, style: Style, title: &str, blocks: impl IntoIterator<Item = String>) {
    let mut blocks = blocks.into_iter().peekable();
    if blocks.peek().is_none() {
        return;
    }
    text.push('\n');
    text.push_str(&style.paint(Colour::Bold, title));
    text.push('\n');
    for block in blocks {
        for line in block.lines() {
            text.push_str(format!("  {line}").trim_end());
            text.push('\n');
        }
    }
}

/// Where it is, and what.
fn mount(mount: &PlanMount) -> String {
    let source = &mount.source;
    let what = match (mount.kind.as_str(), &mount.address) {
        ("fileServer", Some(address)) => format!("file server '{source}' ({address})"),
        ("fileServer", None) => format!("file server '{source}', which is not served now"),
        ("fileShare", _) => format!("share {source}"),
        ("blobs", _) => format!("container {source}"),
        ("command", _) => format!("by: {source}"),
        (kind, _) => format!("{kind} {source}"),
    };
    let options = mount.options.as_ref();
    let options = options.map_or_else(String::new, |options| format!(", options {options}"));
    format!("{}\n  {what}{options}", mount.path)
}

fn variables(plan: &PlanAnswer) -> Vec<String> {
    plan.user_variables
        .iter()
        .chain(&plan.variables)
        .map(variable)
        .collect()
}

fn variable(variable: &Variable) -> String {
    format!("{}={}", variable.name, variable.value)
}

fn node_name(plan: &PlanAnswer, node: u32) -> &str {
    plan.nodes
        .get(node as usize)
        .map_or("?", |node| node.name.as_str())
}

fn file_block(plan: &PlanAnswer, file: &PlanFile) -> String {
    let node = file.node.map_or("every node", |node| node_name(plan, node));
    let kind = if file.executable { ", executable" } else { "" };
    let mut lines = vec![format!("{} on {node}{kind}", file.path)];
    lines.extend(file.contents.lines().map(|line| format!("  | {line}")));
    lines.join("\n")
}

fn process_block(plan: &PlanAnswer, process: &Process) -> String {
    let output = output_file("stdout", process.output.as_deref());
    let mut lines = vec![
        process_line(plan, process),
        format!("  {}", command(&process.command)),
        format!("  output {output}"),
    ];
    let directory = process.working_directory.iter();
    lines.extend(directory.map(|directory| format!("  in {directory}")));
    lines.extend(
        process
            .variables
            .iter()
            .map(|entry| format!("  {}", variable(entry))),
    );
    lines.join("\n")
}

/// Name and node, and what is not as usual.
fn process_line(plan: &PlanAnswer, process: &Process) -> String {
    let mut parts = vec![format!(
        "{} on {}",
        process.name,
        node_name(plan, process.node)
    )];
    match &process.gpus {
        GpuShare::All => parts.push("all GPUs".into()),
        GpuShare::None => {}
        GpuShare::Some(indices) => parts.push(format!("GPUs {indices:?}")),
    }
    if process.part == Part::Supporting {
        parts.push("supporting".into());
    }
    match process.on_failure {
        OnFailure::FailJob => {}
        OnFailure::Ignore => parts.push("may fail".into()),
        OnFailure::Restart(times) => parts.push(format!("restarted up to {times} times")),
    }
    if process.stage > 0 {
        parts.push(format!("stage {}", process.stage));
    }
    parts.join(", ")
}

fn command(command: &Command) -> String {
    match command {
        Command::Argv(words) => {
            shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "))
        }
        Command::Shell(line) => format!("bash: {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plan_shows_what_runs_where() {
        let answer: PlanAnswer = serde_json::from_value(json!({
            "job": "/v1/…/jobs/train", "attempt": 1, "imagined": true, "plugin": "pytorch 0.1.0 sha256:12ab",
            "nodes": [{"rank": 0, "name": "a", "address": "10.0.0.1"}, {"rank": 1, "name": "b", "address": "10.0.0.2"}],
            "preparation": "pip install x", "workingDirectory": null,
            "mounts": [
                {"level": "cluster", "path": "$AZ_BATCHAI_MOUNT_ROOT/home", "kind": "fileServer", "source": "home",
                 "address": "10.0.0.4:/srv/home", "options": null},
                {"level": "job", "path": "$AZ_BATCHAI_JOB_MOUNT_ROOT/new", "kind": "fileServer", "source": "new",
                 "address": null, "options": "ro"},
                {"level": "job", "path": "$AZ_BATCHAI_JOB_MOUNT_ROOT/x", "kind": "command", "source": "mount -t x y",
                 "address": null, "options": null}],
            "sharedDirectory": {"address": null, "lacks": "node 'a' serves no files to others"},
            "userVariables": [{"name": "LR", "value": "0.1"}],
            "variables": [{"name": "MASTER_ADDR", "value": "10.0.0.1"}],
            "files": [{"node": 0, "path": "hosts", "contents": "a slots=1\nb slots=1\n", "executable": false}],
            "processes": [
                {"name": "rank-0", "node": 0, "command": {"shell": "exec python train.py"}, "variables": [{"name": "RANK", "value": "0"}],
                 "output": "0", "gpus": {"some": [0]}, "part": "primary", "onFailure": "failJob", "stage": 0},
                {"name": "helper", "node": 1, "command": {"argv": ["serve", "a b"]}, "variables": [], "workingDirectory": "/w",
                 "gpus": "none", "part": "supporting", "onFailure": {"restart": 2}, "stage": 1}],
            "finish": [{"node": 1, "command": {"argv": ["rm", "-r", "x"]}}]}))
        .unwrap();
        insta::assert_snapshot!(plan(&answer, Style::Plain));
    }
}
