//! How the nodes of a cluster are set up (capabilities §3.3.3).

use serde::{Deserialize, Serialize};

use crate::job::{ErrorRecord, ResourceReference, SecretVariable};
use crate::mount_volumes::MountVolumes;
use crate::plan::Variable;
use crate::problem::Problem;
use crate::request_check::{text, variables};

/// The code of a cluster whose nodes cannot be set up.
pub const NODE_SETUP_NOT_SUPPORTED: &str = "NodeSetupNotSupported";

/// The code of a cluster whose counters are not uploaded.
pub const COUNTERS_NOT_SUPPORTED: &str = "PerformanceCountersNotSupported";

/// `nodeSetup`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSetup {
    /// Runs on every node when it joins and after each of its restarts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup_task: Option<SetupTask>,
    /// File systems of every node, for the set-up task and for all jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_volumes: Option<MountVolumes>,
    /// Where counters of the nodes go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performance_counters_settings: Option<PerformanceCountersSettings>,
}

/// `setupTask`, as the user gives it: the suffix of its output path is made by
/// the service and kept beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetupTask {
    /// A line for the node's shell, run as root.
    pub command_line: String,
    /// Its variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment_variables: Vec<Variable>,
    /// The names of its variables with secret values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretVariable>,
    /// Below which path its output goes.
    pub std_out_err_path_prefix: String,
}

/// `performanceCountersSettings`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PerformanceCountersSettings {
    /// The account that gets them.
    pub app_insights_reference: AppInsightsReference,
}

/// `appInsightsReference` without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppInsightsReference {
    /// The resource id of the account.
    pub component: ResourceReference,
}

impl NodeSetup {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is wrong, with targets below `base`.
    pub(crate) fn check(&self, base: &str) -> Vec<Problem> {
        let mut findings: Vec<Problem> = Vec::new();
        if let Some(task) = &self.setup_task {
            let at = |member: &str| format!("{base}/setupTask/{member}");
            findings.extend(text(&at("commandLine"), &task.command_line));
            let prefix = &task.std_out_err_path_prefix;
            findings.extend(text(&at("stdOutErrPathPrefix"), prefix));
            let secrets = task.secrets.iter().map(|secret| secret.name.as_str());
            let open = &task.environment_variables;
            findings.extend(variables(&format!("{base}/setupTask"), open, secrets));
        }
        if let Some(volumes) = &self.mount_volumes {
            findings.extend(volumes.check(&format!("{base}/mountVolumes")));
        }
        if let Some(counters) = &self.performance_counters_settings {
            let id = &counters.app_insights_reference.component.id;
            let target = "performanceCountersSettings/appInsightsReference/component/id";
            findings.extend(text(&format!("{base}/{target}"), id));
        }
        findings
    }

    /// What of it this version cannot do and a job could not do without. A
    /// cluster with any of these must not run jobs as if its nodes were set up.
    pub fn obstacles(&self) -> Vec<ErrorRecord> {
        let task = self.setup_task.iter().map(|_| {
            let message = "node set-up: this version of Lote cannot run the set-up task of a cluster yet, so the \
                 cluster gets no nodes; create it without nodeSetup.setupTask";
            ErrorRecord::new(NODE_SETUP_NOT_SUPPORTED, message)
                .with("member", "nodeSetup.setupTask")
        });
        task.collect()
    }

    /// Everything that the cluster's errors must say about it.
    pub fn errors(&self) -> Vec<ErrorRecord> {
        let mut errors = self.obstacles();
        if self.performance_counters_settings.is_some() {
            let message = "node set-up: this version of Lote uploads no performance counters; jobs are not affected";
            let member = "nodeSetup.performanceCountersSettings";
            errors.push(ErrorRecord::new(COUNTERS_NOT_SUPPORTED, message).with("member", member));
        }
        errors
    }
}
