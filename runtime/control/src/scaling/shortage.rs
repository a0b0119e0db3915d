//! Why a cluster has fewer nodes than it shall have, in sentences for its errors.

use lote_model::cluster::ClusterRecord;
use lote_model::id::NodeName;
use lote_model::job::ErrorRecord;

use super::budget;
use crate::decide::Pass;
use crate::power;
use crate::snapshot::{ClusterKey, ClusterState};

/// The code of clusters for which the pool has too few nodes.
const NOT_ENOUGH_NODES: &str = "NotEnoughNodes";
/// The code that says that drained nodes could help.
const NODE_DRAINED: &str = "NodeDrained";

/// What keeps a cluster from `missing` more nodes.
pub(super) fn errors(
    pass: &Pass<'_>,
    key: &ClusterKey,
    cluster: &ClusterState,
    record: &ClusterRecord,
    missing: usize,
) -> Vec<ErrorRecord> {
    let mut errors = Vec::from_iter(budget::error(pass, key, cluster, missing));
    let affordable = budget::room(pass, key, cluster).unwrap_or(usize::MAX);
    let missing = missing.min(affordable);
    let missing = missing.saturating_sub(power::count_coming(pass, &cluster.size));
    if missing > 0 {
        errors.push(too_few_nodes(record, missing));
        errors.extend(drained(pass, record));
    }
    errors
}

fn too_few_nodes(record: &ClusterRecord, missing: usize) -> ErrorRecord {
    let size = &record.properties.vm_size;
    ErrorRecord::new(
        NOT_ENOUGH_NODES,
        format!(
            "the pool has no more free nodes of size '{size}', {missing} are missing: add machines, \
             or scale another cluster of this size down"
        ),
    )
}

/// The nodes that would do, were they not drained.
fn drained(pass: &Pass<'_>, record: &ClusterRecord) -> Option<ErrorRecord> {
    let size = &record.properties.vm_size;
    let names: Vec<&NodeName> = pass
        .snapshot
        .drained_nodes()
        .filter(|(_, node)| {
            let known = node.record.as_ref();
            known.is_some_and(|node| node.size.eq_ignore_ascii_case(size))
        })
        .map(|(name, _)| name)
        .collect();
    let first = names.first()?;
    let (count, are) = match names.len() {
        1 => ("1 node".to_owned(), "is"),
        count => (format!("{count} nodes"), "are"),
    };
    let message = format!(
        "{count} of size '{size}' {are} drained, such as '{first}', and count for no cluster: \
         'lote node resume {first}' gives it work again"
    );
    Some(ErrorRecord::new(NODE_DRAINED, message))
}
