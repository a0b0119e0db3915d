//! From the body of a job's PUT to checked properties (capabilities §3.5).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::body;
use crate::duration::Seconds;
use crate::expand::is_name;
use crate::framework::{PLUGIN_SETTINGS, PluginName, PluginRequest};
use crate::job::{JobProperties, LoteJobProperties, ResourceRequest};
use crate::path::ChildPath;
use crate::problem::Problem;
use crate::request_check::{length, text, variables};
use crate::secret::Secrets;
use crate::secret_members::{self, OF_JOBS};

/// The most nodes one job may ask for.
pub const JOB_NODES_MAX: u32 = 10_000;

/// The longest wall-clock limit: a year. The original service stopped at 7
/// days, which remains the default; one's own machines have no such reason.
pub const WALL_CLOCK_MAX: Seconds = Seconds::days(366);

/// The longest time between SIGTERM and SIGKILL.
pub const GRACE_PERIOD_MAX: Seconds = Seconds(3_600);

/// A job as asked for, checked by the model; the plugin has not seen `settings` yet.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRequest {
    /// Everything but the framework's settings.
    pub properties: JobProperties,
    /// The cluster that `properties.cluster` names.
    pub cluster: ChildPath,
    /// Which plugin it asks for.
    pub plugin: PluginRequest,
    /// The settings as sent.
    pub settings: Value,
    /// What is never shown.
    pub secrets: Secrets,
}

/// Members that the service sets; clients that resubmit an answer send them.
const READ_ONLY: [&str; 9] = [
    "experimentName",
    "toolType",
    "jobOutputDirectoryPathSegment",
    "creationTime",
    "provisioningState",
    "provisioningStateTransitionTime",
    "executionState",
    "executionStateTransitionTime",
    "executionInfo",
];

/// Members of `properties.lote` that the service sets.
const READ_ONLY_LOTE: [&str; 7] = [
    "uid",
    "framework",
    "attempt",
    "nodes",
    "waiting",
    "account",
    "directories",
];

/// Reads and checks the body of a create request. `settings_members` are the
/// members that some loaded plugin answers to.
pub fn parse(request_body: &[u8], settings_members: &[String]) -> Result<JobRequest, Problem> {
    let mut members = body::properties(request_body, &READ_ONLY)?;
    if let Some(Value::Object(lote)) = members.get_mut("lote") {
        lote.retain(|name, _| !READ_ONLY_LOTE.contains(&name.as_str()));
    }
    let (mut plugin, settings) = take_settings(&mut members, settings_members)?;
    let taken = secret_members::take(&mut members, &OF_JOBS);
    let typed = body::typed(body::without_nulls(members), "/properties");
    let mut properties: JobProperties = taken.or_findings(typed)?;
    // What asks for nothing is the same as nothing.
    properties
        .mount_volumes
        .take_if(|volumes| volumes.is_empty());
    let secrets = taken.secrets;
    let mut findings = taken.findings;
    findings.extend(check(&properties));
    match (&plugin.plugin, &properties.lote.plugin) {
        (Some(_), Some(_)) => findings.push(Problem::invalid(
            "/properties/lote/plugin",
            "the job names its plugin in pluginSettings: give the version there, as in 'ray@0.2.0'",
        )),
        (None, Some(name)) => plugin.plugin = Some(name.clone()),
        _ => {}
    }
    let cluster = ChildPath::parse_cluster_id(&properties.cluster.id);
    match cluster {
        Ok(cluster) if findings.is_empty() => Ok(JobRequest {
            properties,
            cluster,
            plugin,
            settings,
            secrets,
        }),
        Ok(_) => Err(gathered(findings)),
        Err(problem) => {
            findings.insert(0, problem.at("/properties/cluster/id"));
            Err(gathered(findings))
        }
    }
}

fn gathered(findings: Vec<Problem>) -> Problem {
    Problem::gather(findings)
        .unwrap_or_else(|| Problem::invalid("/properties", "the request was refused"))
}

/// Takes the one framework settings object out of the properties.
fn take_settings(
    members: &mut Map<String, Value>,
    settings_members: &[String],
) -> Result<(PluginRequest, Value), Problem> {
    let known = || format!("{}, {PLUGIN_SETTINGS}", settings_members.join(", "));
    let given: Vec<String> = members
        .keys()
        .filter(|name| is_settings(name, settings_members))
        .cloned()
        .collect();
    match given.as_slice() {
        [] => Err(Problem::invalid(
            "/properties",
            format!(
                "the job names no framework: give exactly one of {}",
                known()
            ),
        )),
        [name] if name == PLUGIN_SETTINGS => by_name(members.remove(name)),
        [name] if !settings_members.contains(name) => Err(Problem::new(
            "FrameworkNotAvailable",
            format!("no plugin is loaded for '{name}'; loaded are {}", known()),
        )
        .at(format!("/properties/{name}"))),
        [name] => match members.remove(name) {
            Some(settings @ Value::Object(_)) => Ok((PluginRequest::of_member(name), settings)),
            _ => Err(Problem::invalid(
                format!("/properties/{name}"),
                format!("'{name}' must be an object"),
            )),
        },
        several => Err(Problem::invalid(
            format!("/properties/{}", several[1]),
            format!(
                "a job has exactly one framework, this one names {}",
                several.join(" and ")
            ),
        )),
    }
}

/// Reads `pluginSettings`: the plugin's name, and its settings.
fn by_name(found: Option<Value>) -> Result<(PluginRequest, Value), Problem> {
    let at = |member: &str| format!("/properties/{PLUGIN_SETTINGS}/{member}");
    let Some(Value::Object(mut found)) = found else {
        return Err(Problem::invalid(
            format!("/properties/{PLUGIN_SETTINGS}"),
            format!("'{PLUGIN_SETTINGS}' must be an object with name and settings"),
        ));
    };
    let Some(Value::String(name)) = found.remove("name") else {
        let message = "name is required: the name of a plugin, such as 'ray' or 'ray@0.2.0'";
        return Err(Problem::invalid(at("name"), message));
    };
    let name = name
        .parse::<PluginName>()
        .map_err(|error| Problem::invalid(at("name"), error.to_string()))?;
    let settings = match found.remove("settings") {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(settings @ Value::Object(_)) => settings,
        Some(_) => {
            return Err(Problem::invalid(
                at("settings"),
                "settings must be an object",
            ));
        }
    };
    if let Some(unknown) = found.keys().next() {
        return Err(Problem::invalid(
            at(unknown),
            format!(
                "'{unknown}' is no member of {PLUGIN_SETTINGS}; what the plugin is to get belongs into settings"
            ),
        ));
    }
    let request = PluginRequest {
        member: PLUGIN_SETTINGS.to_owned(),
        plugin: Some(name),
    };
    Ok((request, settings))
}

/// Whether a member is (or, by its name, would be) a framework's settings.
fn is_settings(name: &str, settings_members: &[String]) -> bool {
    let of_the_job = name == "containerSettings";
    settings_members.iter().any(|member| member == name)
        || (name.ends_with("Settings") && !of_the_job)
}

fn check(job: &JobProperties) -> Vec<Problem> {
    let mut findings = Vec::new();
    if job.node_count == 0 || job.node_count > JOB_NODES_MAX {
        let message = format!("nodeCount must be 1 to {JOB_NODES_MAX}");
        findings.push(Problem::invalid("/properties/nodeCount", message));
    }
    let limit = job.constraints.max_wall_clock_time;
    if limit == Seconds(0) || limit > WALL_CLOCK_MAX {
        findings.push(Problem::invalid(
            "/properties/constraints/maxWallClockTime",
            format!("maxWallClockTime must be more than nothing and at most {WALL_CLOCK_MAX}"),
        ));
    }
    findings.extend(check_texts(job));
    let secrets = job.secrets.iter().map(|secret| secret.name.as_str());
    let open = &job.environment_variables;
    findings.extend(variables("/properties", open, secrets));
    findings.extend(check_directories(job));
    if let Some(volumes) = &job.mount_volumes {
        findings.extend(volumes.check("/properties/mountVolumes"));
    }
    if let Some(container) = &job.container_settings {
        findings.extend(container.check("/properties/containerSettings"));
    }
    findings.extend(check_extensions(&job.lote));
    findings
}

fn check_texts(job: &JobProperties) -> Vec<Problem> {
    let mut texts = vec![(
        "/properties/stdOutErrPathPrefix".to_owned(),
        job.std_out_err_path_prefix.as_str(),
    )];
    if let Some(preparation) = &job.job_preparation {
        texts.push((
            "/properties/jobPreparation/commandLine".to_owned(),
            &preparation.command_line,
        ));
    }
    if let Some(directory) = &job.lote.working_directory {
        texts.push(("/properties/lote/workingDirectory".to_owned(), directory));
    }
    for (index, directory) in job.input_directories.iter().enumerate() {
        texts.push((
            format!("/properties/inputDirectories/{index}/path"),
            &directory.path,
        ));
    }
    for (index, directory) in job.output_directories.iter().enumerate() {
        texts.push((
            format!("/properties/outputDirectories/{index}/pathPrefix"),
            &directory.path_prefix,
        ));
    }
    texts
        .into_iter()
        .filter_map(|(target, value)| text(&target, value))
        .collect()
}

fn check_directories(job: &JobProperties) -> Vec<Problem> {
    let inputs: Vec<&str> = job
        .input_directories
        .iter()
        .map(|directory| directory.id.as_str())
        .collect();
    let outputs: Vec<&str> = job
        .output_directories
        .iter()
        .map(|directory| directory.id.as_str())
        .collect();
    let mut findings = check_ids("/properties/inputDirectories", &inputs);
    findings.extend(check_ids("/properties/outputDirectories", &outputs));
    for (index, directory) in job.output_directories.iter().enumerate() {
        let suffix = directory.path_suffix.as_deref().unwrap_or_default();
        if suffix.contains('\0') || suffix.split('/').any(|part| part == "..") {
            let target = format!("/properties/outputDirectories/{index}/pathSuffix");
            findings.push(Problem::invalid(
                target,
                "pathSuffix must stay below its prefix: no '..'",
            ));
        }
    }
    findings
}

fn check_ids(base: &str, ids: &[&str]) -> Vec<Problem> {
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for (index, id) in ids.iter().enumerate() {
        let target = || format!("{base}/{index}/id");
        if !is_name(id) {
            let message = format!(
                "'{id}' becomes part of a variable's name: use letters, digits and '_', no digit first"
            );
            findings.push(Problem::invalid(target(), message));
        } else if id.eq_ignore_ascii_case(crate::job::STDOUTERR) {
            findings.push(Problem::invalid(
                target(),
                format!("'{id}' is the id of the standard output's directory"),
            ));
        } else if !seen.insert(*id) {
            findings.push(Problem::invalid(target(), format!("'{id}' is given twice")));
        }
    }
    findings.extend(length(base, ids.len(), "directories"));
    findings
}

fn check_extensions(lote: &LoteJobProperties) -> Vec<Problem> {
    let at = |member: &str| format!("/properties/lote/{member}");
    let mut findings = lote
        .resources
        .as_ref()
        .map(check_resources)
        .unwrap_or_default();
    if lote
        .grace_period
        .is_some_and(|period| period > GRACE_PERIOD_MAX)
    {
        findings.push(Problem::invalid(
            at("gracePeriod"),
            format!("gracePeriod is at most {GRACE_PERIOD_MAX}"),
        ));
    }
    if lote
        .attempts_max
        .is_some_and(|attempts| attempts == 0 || attempts > 1_000)
    {
        findings.push(Problem::invalid(
            at("attemptsMax"),
            "attemptsMax must be 1 to 1000",
        ));
    }
    if lote
        .working_directory
        .as_ref()
        .is_some_and(|path| !path.starts_with(['/', '$']))
    {
        let message = "workingDirectory must be an absolute path or begin with a variable";
        findings.push(Problem::invalid(at("workingDirectory"), message));
    }
    findings
}

fn check_resources(resources: &ResourceRequest) -> Vec<Problem> {
    let at = |member: &str| format!("/properties/lote/resources/{member}");
    let mut findings = Vec::new();
    if resources
        .cpus_per_node
        .is_some_and(|cpus| !(0.001..=100_000.0).contains(&cpus))
    {
        findings.push(Problem::invalid(
            at("cpusPerNode"),
            "cpusPerNode must be 0.001 to 100000",
        ));
    }
    if resources.gpus_per_node.is_some_and(|gpus| gpus > 1_024) {
        findings.push(Problem::invalid(
            at("gpusPerNode"),
            "gpusPerNode is at most 1024",
        ));
    }
    // Below a few MiB not even the loader of a program fits.
    let fits = |bytes: u64| (4 << 20..=1 << 50).contains(&bytes);
    if resources.memory.is_some() && !resources.memory_bytes().is_some_and(fits) {
        let message = "memory must be a size of at least 4m, such as '512m' or '8g'";
        findings.push(Problem::invalid(at("memory"), message));
    }
    if resources.processes.is_some_and(|processes| processes == 0) {
        findings.push(Problem::invalid(
            at("processes"),
            "processes must be at least 1",
        ));
    }
    findings
}

#[cfg(test)]
mod tests;
