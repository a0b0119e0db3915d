//! What the nodes of a gang share that mounts no file server to write to: a directory of the first
//! one, which that one serves to the others for as long as the job is there.
//!
//! Everything about it follows from the records of the nodes, so it is in the plan before anything
//! runs, and ends with it. A gang whose nodes cannot do it does without, and its plan says why.

use std::collections::BTreeSet;

use crate::export::NfsAbility;
use crate::id::{FileServerUid, JobUid};
use crate::node::NodeRecord;
use crate::planned_mount::{FileServerSource, GangShare, PlannedMounts};

/// What the nodes of an attempt, in rank order, share beside what they mount.
pub fn plan(
    mounts: &PlannedMounts,
    nodes: &[&NodeRecord],
    uid: &JobUid,
    attempt: u32,
) -> GangShare {
    let [first, others @ ..] = nodes else {
        return GangShare::None;
    };
    if others.is_empty() || mounts.shared_between_nodes().is_some() {
        return GangShare::None;
    }
    match directory(first, others, &format!("{uid}.{attempt}")) {
        Ok(source) => GangShare::Directory(Box::new(source)),
        Err(why) => GangShare::Lacks(why),
    }
}

/// The directory of this name on the first node, or why the others cannot have it.
fn directory(
    first: &NodeRecord,
    others: &[&NodeRecord],
    name: &str,
) -> Result<FileServerSource, String> {
    let node = &first.name;
    let service = match &first.nfs {
        Some(NfsAbility::Serves(service)) => service,
        Some(NfsAbility::Lacks(why)) => {
            return Err(format!("node '{node}' serves no files to others: {why}"));
        }
        None => {
            return Err(format!(
                "node '{node}' does not say whether it serves files to others: update its daemon"
            ));
        }
    };
    let shared = service.share(name);
    let point = shared.map_err(|why| format!("node '{node}' shares no directories: {why}"))?;
    let mut addresses = BTreeSet::from([&first.address]);
    for other in others {
        if !addresses.insert(&other.address) {
            return Err(format!(
                "node '{}' has the same address as another one of the job ({}), so they cannot \
                 serve files to each other",
                other.name, other.address
            ));
        }
        let versions = &other.nfs_client_versions;
        if !versions.iter().any(|it| point.versions.contains(it)) {
            let what = if versions.is_empty() {
                "no NFS".to_owned()
            } else {
                format!(
                    "NFS of version {} only, and node '{node}' serves {}",
                    versions.join(", "),
                    point.versions.join(", ")
                )
            };
            return Err(format!("node '{}' can mount {what}", other.name));
        }
    }
    Ok(FileServerSource {
        name: "shared directory of the job".into(),
        uid: FileServerUid::new(name),
        node: node.clone(),
        address: first.address.clone(),
        point,
        directory: None,
        // If the node is lost, so is the job: nobody is to wait for it for ever.
        options: Some("soft".into()),
    })
}

#[cfg(test)]
mod tests;
