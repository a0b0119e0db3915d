//! `TF_CONFIG`, the variable by which TensorFlow's own classes find the cluster.
//!
//! Batch AI called worker 0 the `master` of a cluster that had none, and estimators
//! refused it. So there are three forms, and the user's variable [`FORM_VARIABLE`]
//! chooses between them: the settings of the API have no place for it.

use lote_plugin_sdk::issues::issue_with_hint;
use lote_plugin_sdk::types::{Issue, Variable};
use serde_json::{Value, json};

use crate::cluster::{Cluster, Task, endpoints};

/// The user's variable with the name of the form.
pub const FORM_VARIABLE: &str = "TF_CONFIG_FORM";

/// How the workers are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Worker 0 is the `chief`, the others are workers from 0: what estimators want.
    #[default]
    Chief,
    /// Worker 0 is worker 0: what multi-worker strategies want.
    Worker,
    /// As Batch AI wrote it: worker 0 is `master`, and among the workers as well.
    Legacy,
}

/// The role of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Trains. Worker 0 is the master.
    Worker,
    /// Keeps parameters for the workers.
    ParameterServer,
}

impl Form {
    /// The form that the user's variables ask for.
    ///
    /// # Errors
    /// The issue with a form that is not known.
    pub fn of(variables: &[Variable]) -> Result<Self, Issue> {
        let mut variables = variables.iter();
        let Some(variable) = variables.find(|variable| variable.name == FORM_VARIABLE) else {
            return Ok(Self::default());
        };
        let name = variable.value.trim();
        [Self::Chief, Self::Worker, Self::Legacy]
            .into_iter()
            .find(|form| form.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| {
                issue_with_hint(
                    "",
                    format!("the job's variable {FORM_VARIABLE} is `{name}`, which is no form of TF_CONFIG"),
                    "choose chief, worker or legacy",
                )
            })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Chief => "chief",
            Self::Worker => "worker",
            Self::Legacy => "legacy",
        }
    }

    /// The member `cluster`, equal for all tasks.
    pub fn cluster(self, cluster: &Cluster) -> Value {
        let workers = endpoints(&cluster.workers);
        let mut members = match self {
            Self::Chief => json!({
                "chief": workers.get(..1),
                "worker": workers.get(1..).filter(|others| !others.is_empty()),
            }),
            Self::Worker | Self::Legacy => json!({ "worker": workers }),
        };
        if !cluster.parameter_servers.is_empty() {
            members["ps"] = json!(endpoints(&cluster.parameter_servers));
        }
        if let Some(members) = members.as_object_mut() {
            members.retain(|_, endpoints| !endpoints.is_null());
        }
        members
    }

    /// The member `task` of one task.
    pub fn task(self, role: Role, task: &Task) -> Value {
        let (kind, index) = match (self, role, task.index) {
            (_, Role::ParameterServer, index) => ("ps", index),
            (Self::Chief, Role::Worker, 0) => ("chief", 0),
            (Self::Chief, Role::Worker, index) => ("worker", index - 1),
            (Self::Legacy, Role::Worker, 0) => ("master", 0),
            (Self::Worker | Self::Legacy, Role::Worker, index) => ("worker", index),
        };
        json!({ "type": kind, "index": index })
    }
}

#[cfg(test)]
mod tests {
    use lote_plugin_sdk::hosts::variable;
    use lote_plugin_sdk::testkit;

    use super::*;

    fn cluster(workers: u32, servers: u32) -> Cluster {
        let allocation = testkit::allocation(2, &json!({}));
        Cluster::place(
            workers,
            servers,
            &serde_json::from_value(allocation).unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn every_form_but_the_old_one_names_all_tasks_in_its_cluster() {
        for form in [Form::Chief, Form::Worker] {
            for (workers, servers) in [(1, 0), (1, 1), (4, 0), (5, 2)] {
                let tasks = cluster(workers, servers);
                let shown = form.cluster(&tasks);
                let named = |role, task: &Task| {
                    let found = form.task(role, task);
                    let index = usize::try_from(found["index"].as_u64().unwrap()).unwrap();
                    shown[found["type"].as_str().unwrap()][index] == task.endpoint
                };
                assert!(tasks.workers.iter().all(|task| named(Role::Worker, task)));
                let mut servers = tasks.parameter_servers.iter();
                assert!(servers.all(|task| named(Role::ParameterServer, task)));
            }
        }
    }

    #[test]
    fn the_chief_is_not_among_the_workers() {
        let tasks = cluster(2, 1);
        let chief = json!({"chief": ["10.0.0.4:2223"], "worker": ["10.0.0.5:2222"], "ps": ["10.0.0.4:2222"]});
        assert_eq!(Form::Chief.cluster(&tasks), chief);
        let worker = json!({"worker": ["10.0.0.4:2223", "10.0.0.5:2222"], "ps": ["10.0.0.4:2222"]});
        assert_eq!(Form::Worker.cluster(&tasks), worker);
        assert_eq!(
            Form::Chief.cluster(&cluster(1, 0)),
            json!({"chief": ["10.0.0.4:2222"]})
        );
    }

    #[test]
    fn the_old_form_has_a_master_without_a_place_in_the_cluster() {
        let tasks = cluster(2, 0);
        assert_eq!(Form::Legacy.cluster(&tasks), Form::Worker.cluster(&tasks));
        let shown: Vec<_> = tasks
            .workers
            .iter()
            .map(|task| Form::Legacy.task(Role::Worker, task))
            .collect();
        assert_eq!(
            shown,
            [
                json!({"type": "master", "index": 0}),
                json!({"type": "worker", "index": 1})
            ]
        );
    }

    #[test]
    fn a_variable_of_the_user_chooses_the_form() {
        let of = |value: &str| Form::of(&[variable("A", &1), variable(FORM_VARIABLE, &value)]);
        assert_eq!(Form::of(&[]), Ok(Form::Chief));
        assert_eq!(of("Worker "), Ok(Form::Worker));
        assert_eq!(of("legacy"), Ok(Form::Legacy));
        assert!(of("boss").unwrap_err().message.contains("`boss`"));
    }
}
