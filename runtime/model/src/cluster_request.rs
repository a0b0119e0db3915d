//! From the body of a cluster's PUT or PATCH to checked properties (capabilities §3.3).

mod update;

use serde_json::{Map, Value};

use crate::body;
use crate::cluster::{ClusterProperties, LoteClusterProperties, ScaleSettings};
use crate::duration::Seconds;
use crate::problem::Problem;
use crate::request_check::{optional_text, text};
use crate::secret::Secrets;
use crate::secret_members::{self, OF_CLUSTERS};

pub use update::ClusterUpdate;

/// The most nodes one cluster may ask for; a bound against slips of the finger.
pub const CLUSTER_NODES_MAX: u32 = 10_000;

/// The longest size label.
pub const SIZE_LENGTH_MAX: usize = 128;

/// Members that the service sets; clients that resubmit an answer send them.
const READ_ONLY: [&str; 8] = [
    "creationTime",
    "provisioningState",
    "provisioningStateTransitionTime",
    "allocationState",
    "allocationStateTransitionTime",
    "currentNodeCount",
    "nodeStateCounts",
    "errors",
];

/// The same of `lote`.
const LOTE_READ_ONLY: [&str; 4] = ["nodes", "leaving", "withdrawn", "spending"];

/// The longest idle delay.
const IDLE_DELAY_MAX: Seconds = Seconds::days(365);

/// A cluster as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterRequest {
    /// Everything that is shown, defaults filled in.
    pub properties: ClusterProperties,
    /// What is not.
    pub secrets: Secrets,
}

/// Where the password of the administrator stands.
const PASSWORD: &str = "/properties/userAccountSettings/adminUserPassword";

impl ClusterRequest {
    /// Reads and checks the body of a create request.
    pub fn parse(request_body: &[u8]) -> Result<Self, Problem> {
        let mut members = without_read_only(body::properties(request_body, &READ_ONLY)?);
        let taken = secret_members::take(&mut members, &OF_CLUSTERS);
        let scale = members.get("scaleSettings");
        let modes = scale.and_then(check_modes);
        let typed = match modes {
            None => body::typed(body::without_nulls(members), "/properties"),
            Some(problem) => Err(problem),
        };
        let mut properties: ClusterProperties = taken.or_findings(typed)?;
        normalise(&mut properties);
        let mut findings = taken.findings;
        findings.extend(check(&properties));
        let secrets = taken.secrets;
        Problem::gather(findings).map_or(
            Ok(Self {
                properties,
                secrets,
            }),
            Err,
        )
    }

    /// Whether the administrator could log in: by a key or a password
    /// (capabilities §3.7).
    pub fn check_login(&self) -> Result<(), Problem> {
        let account = &self.properties.user_account_settings;
        let has_key = account.admin_user_ssh_public_key.is_some();
        if has_key || self.secrets.get(PASSWORD).is_some() {
            return Ok(());
        }
        Err(Problem::invalid(
            "/properties/userAccountSettings",
            "give at least one of adminUserSshPublicKey and adminUserPassword",
        ))
    }
}

/// The members further down that the service sets.
fn without_read_only(mut members: Map<String, Value>) -> Map<String, Value> {
    let task = members
        .get_mut("nodeSetup")
        .and_then(|setup| setup.get_mut("setupTask"));
    if let Some(Value::Object(task)) = task {
        task.remove("stdOutErrPathSuffix");
    }
    if let Some(Value::Object(lote)) = members.get_mut("lote") {
        update::without_answers(lote);
    }
    members
}

/// What asks for nothing is the same as nothing.
fn normalise(properties: &mut ClusterProperties) {
    if let Some(setup) = &mut properties.node_setup {
        setup.mount_volumes.take_if(|volumes| volumes.is_empty());
    }
    properties.node_setup.take_if(|setup| setup.is_empty());
}

fn check(properties: &ClusterProperties) -> Vec<Problem> {
    let mut findings = check_scale(&properties.scale_settings);
    findings.extend(check_size(&properties.vm_size));
    findings.extend(check_lote(&properties.lote));
    let account = &properties.user_account_settings;
    let at = |member: &str| format!("/properties/userAccountSettings/{member}");
    findings.extend(text(&at("adminUserName"), &account.admin_user_name));
    let key = account.admin_user_ssh_public_key.as_ref();
    findings.extend(optional_text(&at("adminUserSshPublicKey"), key));
    let image = &properties.virtual_machine_configuration;
    findings.extend(image.check("/properties/virtualMachineConfiguration"));
    if let Some(setup) = &properties.node_setup {
        findings.extend(setup.check("/properties/nodeSetup"));
    }
    if let Some(subnet) = &properties.subnet {
        findings.extend(text("/properties/subnet/id", &subnet.id));
    }
    findings
}

/// The original refused `STANDARD_A0` and the families with premium storage, which
/// its fleet could not serve. Here a size is the label of one's own machines: any
/// that can be shown and compared will do.
fn check_size(size: &str) -> Option<Problem> {
    let fits = size.len() <= SIZE_LENGTH_MAX && !size.chars().any(char::is_control);
    (size.trim().is_empty() || !fits).then(|| {
        let message =
            format!("vmSize must name a size, such as 'cpu': 1 to {SIZE_LENGTH_MAX} characters");
        Problem::invalid("/properties/vmSize", message)
    })
}

fn check_lote(lote: &LoteClusterProperties) -> Vec<Problem> {
    let mut findings = Vec::new();
    if lote.idle_delay.is_some_and(|delay| delay > IDLE_DELAY_MAX) {
        let message = format!("idleDelay must not be longer than {IDLE_DELAY_MAX}");
        findings.push(Problem::invalid("/properties/lote/idleDelay", message));
    }
    if lote.budget.is_some() && lote.price_per_node_hour.is_none() {
        let message = "a budget needs a price: give lote.pricePerNodeHour as well";
        findings.push(Problem::invalid("/properties/lote/budget", message));
    }
    findings
}

/// Exactly one of the two modes must be given.
fn check_modes(scale: &Value) -> Option<Problem> {
    let modes = scale.as_object()?;
    let is_given = |mode: &str| modes.get(mode).is_some_and(|mode| !mode.is_null());
    (is_given("manual") == is_given("autoScale")).then(|| {
        let message = "scaleSettings must have exactly one of 'manual' and 'autoScale'";
        Problem::invalid("/properties/scaleSettings", message)
    })
}

fn check_scale(scale: &ScaleSettings) -> Vec<Problem> {
    let at = |member: &str| format!("/properties/scaleSettings/{member}");
    let bounded = |count: u32, target: String| {
        (count > CLUSTER_NODES_MAX).then(|| {
            let message = format!("a cluster has at most {CLUSTER_NODES_MAX} nodes");
            Problem::invalid(target, message)
        })
    };
    match scale {
        ScaleSettings::Manual(manual) => {
            let target = at("manual/targetNodeCount");
            bounded(manual.target_node_count, target)
                .into_iter()
                .collect()
        }
        ScaleSettings::AutoScale(auto) => {
            let target = at("autoScale/maximumNodeCount");
            let mut findings = Vec::from_iter(bounded(auto.maximum_node_count, target));
            if auto.minimum_node_count > auto.maximum_node_count {
                findings.push(Problem::invalid(
                    at("autoScale/minimumNodeCount"),
                    "minimumNodeCount must not exceed maximumNodeCount",
                ));
            }
            findings
        }
    }
}

#[cfg(test)]
mod tests;
