//! The 29 exchanges that belong to the contract, sent as they stand: status,
//! headers, and every member of every answer (`tests/contract/examples`; the
//! contract's own data, MIT licence, without its prose).
//!
//! * [`stage`] — what must be there for an exchange to make sense.
//! * [`shape`] — whether an answer has all that the example's has.

mod shape;
mod stage;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::daemon::{Daemon, Reply};
use shape::{leaves, missing};

/// Name, method, path below the subscription or the provider.
const EXCHANGES: [(&str, &str, &str); 29] = [
    (
        "ListOperation",
        "GET",
        "/providers/Microsoft.BatchAI/operations",
    ),
    (
        "ListUsages",
        "GET",
        "{S}/providers/Microsoft.BatchAI/locations/{location}/usages",
    ),
    (
        "ListWorkspace",
        "GET",
        "{S}/providers/Microsoft.BatchAI/workspaces",
    ),
    ("ListWorkspaceByResourceGroup", "GET", "{P}/workspaces"),
    ("PutWorkspace", "PUT", "{W}"),
    ("PatchWorkspace", "PATCH", "{W}"),
    ("GetWorkspace", "GET", "{W}"),
    ("DeleteWorkspace", "DELETE", "{W}"),
    ("ListExperimentByWorkspace", "GET", "{W}/experiments"),
    ("PutExperiment", "PUT", "{W}/experiments/{experimentName}"),
    ("GetExperiment", "GET", "{W}/experiments/{experimentName}"),
    (
        "DeleteExperiment",
        "DELETE",
        "{W}/experiments/{experimentName}",
    ),
    (
        "ListJobByExperiment",
        "GET",
        "{W}/experiments/{experimentName}/jobs",
    ),
    ("PutJob", "PUT", "{J}"),
    ("GetJob", "GET", "{J}"),
    ("DeleteJob", "DELETE", "{J}"),
    ("TerminateJob", "POST", "{J}/terminate"),
    ("ListOutputFiles", "POST", "{J}/listOutputFiles"),
    (
        "JobListRemoteLoginInfo",
        "POST",
        "{J}/listRemoteLoginInformation",
    ),
    ("ListClusterByWorkspace", "GET", "{W}/clusters"),
    ("PutCluster", "PUT", "{W}/clusters/{clusterName}"),
    ("PatchCluster", "PATCH", "{W}/clusters/{clusterName}"),
    ("GetCluster", "GET", "{W}/clusters/{clusterName}"),
    ("DeleteCluster", "DELETE", "{W}/clusters/{clusterName}"),
    (
        "ClusterListRemoteLoginInfo",
        "POST",
        "{W}/clusters/{clusterName}/listRemoteLoginInformation",
    ),
    ("ListFileServerByWorkspace", "GET", "{W}/fileServers"),
    ("PutFileServer", "PUT", "{W}/fileServers/{fileServerName}"),
    ("GetFileServer", "GET", "{W}/fileServers/{fileServerName}"),
    (
        "DeleteFileServer",
        "DELETE",
        "{W}/fileServers/{fileServerName}",
    ),
];

/// Members of an example's answer that ours has not, each with its reason.
const DELIBERATE: [(&str, &str, &str); 7] = [
    ("PutJob", "/properties/executionInfo", NOT_YET),
    ("PutCluster", "/properties/subnet", SITE_NETWORK),
    ("GetCluster", "/properties/subnet", SITE_NETWORK),
    ("GetFileServer", "/properties/subnet", SITE_NETWORK),
    (
        "ListFileServerByWorkspace",
        "/value/0/properties/subnet",
        SITE_NETWORK,
    ),
    ("GetFileServer", "/properties/mountSettings", NOT_SERVED),
    (
        "ListFileServerByWorkspace",
        "/value/0/properties/mountSettings",
        NOT_SERVED,
    ),
];

const NOT_YET: &str = "a new job is queued; the example's answer is of a later moment";
const SITE_NETWORK: &str = "the original made a network; here the network is the site's";
const NOT_SERVED: &str = "no node serves NFS yet, so there is nothing to mount";

/// One exchange of the contract.
struct Example {
    name: &'static str,
    parameters: Value,
    responses: Value,
}

impl Example {
    fn read(name: &'static str) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/contract/examples");
        let text = std::fs::read(Path::new(folder).join(format!("{name}.json"))).unwrap();
        // One example names its cluster in a collection that there is not.
        let text = String::from_utf8(text)
            .unwrap()
            .replace("/workspace/demo_workspace/", "/workspaces/demo_workspace/");
        let mut file: Value = serde_json::from_str(&text).unwrap();
        Self {
            name,
            parameters: file["parameters"].take(),
            responses: file["responses"].take(),
        }
    }

    fn parameter(&self, name: &str) -> &str {
        self.parameters[name].as_str().unwrap_or_default()
    }

    fn path(&self, template: &str) -> String {
        let mut path = template
            .replace("{J}", "{W}/experiments/{experimentName}/jobs/{jobName}")
            .replace("{W}", "{P}/workspaces/{workspaceName}")
            .replace(
                "{P}",
                "{S}/resourceGroups/{resourceGroupName}/providers/Microsoft.BatchAI",
            )
            .replace("{S}", "/subscriptions/{subscriptionId}");
        let mut query = Vec::new();
        for (name, value) in self.parameters.as_object().unwrap() {
            let placeholder = format!("{{{name}}}");
            let Some(value) = value.as_str() else {
                continue;
            };
            if path.contains(&placeholder) {
                path = path.replace(&placeholder, value);
            } else {
                query.push(format!("{name}={value}"));
            }
        }
        assert!(!path.contains('{'), "{path}");
        format!("{path}?{}", query.join("&"))
    }

    fn body(&self) -> Option<Vec<u8>> {
        let body = self.parameters.get("parameters")?;
        Some(body.to_string().into_bytes())
    }

    fn send(&self, daemon: &Daemon, method: &str, template: &str) -> Reply {
        let headers = [("content-type", "application/json; charset=utf-8")];
        let body = self.body().unwrap_or_default();
        daemon.request(method, &self.path(template), &headers, &body)
    }
}

#[test]
fn every_exchange_of_the_contract() {
    let mut unexpected = Vec::new();
    let mut seen = BTreeSet::new();
    for (name, method, template) in EXCHANGES {
        let example = Example::read(name);
        let daemon = Daemon::start();
        stage::set(&daemon, &example);
        let reply = example.send(&daemon, method, template);
        for (at, what) in findings(&example, &reply) {
            let known = DELIBERATE
                .iter()
                .any(|(of, pointer, _)| *of == name && *pointer == at);
            if known {
                seen.insert((name, at));
            } else {
                unexpected.push(format!("{name} {at}: {what}"));
            }
        }
    }
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
    for (name, pointer, reason) in DELIBERATE {
        assert!(
            seen.contains(&(name, pointer.to_owned())),
            "{name} {pointer} is not different any more: {reason}"
        );
    }
}

/// What an answer lacks, by pointer.
fn findings(example: &Example, reply: &Reply) -> Vec<(String, String)> {
    let status = reply.status.to_string();
    let Some(expected) = example.responses.get(&status) else {
        let text = String::from_utf8_lossy(&reply.bytes);
        return vec![(String::new(), format!("the status is {status}: {text}"))];
    };
    if let Some(headers) = expected["headers"].as_object() {
        let absent = headers.keys().filter(|name| reply.header(name).is_empty());
        return absent
            .map(|name| (String::new(), format!("no header {name}")))
            .collect();
    }
    let Some(body) = expected.get("body").filter(|body| !body.is_null()) else {
        return Vec::new();
    };
    let ours = reply.json();
    let mut findings = missing(body, &ours, "");
    // What the request said must come back as it was said.
    for (at, wanted) in example
        .parameters
        .get("parameters")
        .map(leaves)
        .unwrap_or_default()
    {
        let shown = body.pointer(&at).is_some();
        if shown && ours.pointer(&at) != Some(&wanted) {
            findings.push((at, format!("{wanted} was asked for")));
        }
    }
    findings
}
