//! Whether what is granted of a node is there, each part of it once.

use std::collections::BTreeSet;

use lote_model::allocation::Grant;
use lote_model::node::NodeRecord;

use crate::room::Amount;

/// Nothing of a node is granted twice.
///
/// # Panics
///
/// If something is.
pub fn assert_fits(node: &NodeRecord, grants: &[&Grant]) {
    let sum = grants.iter().fold(Amount::default(), |sum, grant| {
        sum.plus(&Amount::granted(grant))
    });
    assert!(
        sum.is_within(&Amount::whole(node)),
        "{} is over-committed: {sum:?}",
        node.name
    );
    assert!(
        grants.len() <= 1 || !grants.iter().any(|grant| grant.exclusive),
        "something beside an exclusive job on {}",
        node.name
    );
    let gpus: Vec<&str> = grants
        .iter()
        .flat_map(|grant| &grant.gpus)
        .map(|gpu| gpu.uuid.as_str())
        .collect();
    assert_eq!(
        gpus.iter().collect::<BTreeSet<_>>().len(),
        gpus.len(),
        "two jobs on one GPU"
    );
    assert!(
        gpus.iter()
            .all(|uuid| node.gpus.iter().any(|gpu| gpu.uuid == **uuid)),
        "a GPU of another node"
    );
    let ports: Vec<u16> = grants
        .iter()
        .flat_map(|grant| grant.ports.clone())
        .collect();
    assert_eq!(
        ports.iter().collect::<BTreeSet<_>>().len(),
        ports.len(),
        "two jobs on one port"
    );
    let range = node.ports_first..node.ports_first + node.ports_count;
    assert!(
        ports.iter().all(|port| range.contains(port)),
        "a port that is not to lease"
    );
}
