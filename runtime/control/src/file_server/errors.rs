//! What is said about file servers that are not as they should be.

use lote_model::file_server::FileServerRecord;
use lote_model::id::NodeName;
use lote_model::job::ErrorRecord;
use lote_model::node::NodeRecord;

/// It was created by a version that recorded too little.
pub(super) fn outdated(record: &FileServerRecord) -> ErrorRecord {
    let message = format!(
        "file server '{}' was created by a version of Lote that could serve none: delete it, and create it again",
        record.path.name
    );
    ErrorRecord::new("FileServerOutdated", message)
}

/// The node that the user named is none.
pub(super) fn no_such_node(record: &FileServerRecord, node: &NodeName) -> ErrorRecord {
    let message = format!(
        "file server '{}' is to be served by node '{node}', and there is no node of that name: see `lote node list`, and \
         create the file server again with another one, or let that node join",
        record.path.name
    );
    ErrorRecord::new("FileServerNodeNotFound", message).with("node", node.as_str())
}

/// The node that the user named has another size.
pub(super) fn other_size(record: &FileServerRecord, node: &NodeRecord) -> ErrorRecord {
    let message = format!(
        "file server '{}' is to be served by node '{}', whose size is '{}' and not '{}': name one or the other",
        record.path.name, node.name, node.size, record.properties.vm_size
    );
    ErrorRecord::new("FileServerNodeSizeMismatch", message)
        .with("node", node.name.as_str())
        .with("vmSize", &node.size)
}

/// There is no node for it now.
pub(super) fn no_node(
    record: &FileServerRecord,
    has_joined: bool,
    why: Option<String>,
) -> ErrorRecord {
    let size = &record.properties.vm_size;
    let why = match (has_joined, why) {
        (false, _) => "no machine of that size has joined".to_owned(),
        (true, Some(why)) => why,
        (true, None) => "none takes work now".to_owned(),
    };
    let message = format!(
        "file server '{}' waits for a node of size '{size}' to serve it: {why}",
        record.path.name
    );
    ErrorRecord::new("FileServerWaitsForNode", message).with("vmSize", size)
}

/// Of the nodes that take work none can serve files; one of them, and what it lacks.
pub(super) fn none_serves(record: &FileServerRecord, node: &NodeName, why: &str) -> ErrorRecord {
    let size = &record.properties.vm_size;
    let message = format!(
        "file server '{}' waits for a node of size '{size}' that can serve files: node '{node}' cannot: {why}",
        record.path.name
    );
    ErrorRecord::new("FileServerWaitsForNode", message)
        .with("vmSize", size)
        .with("node", node.as_str())
}

/// Its node was removed from the cluster.
pub(super) fn node_removed(record: &FileServerRecord, node: &NodeName) -> ErrorRecord {
    let message = format!(
        "node '{node}', which has the files of file server '{}', was removed: start its daemon again, or delete the file \
         server",
        record.path.name
    );
    ErrorRecord::new("FileServerNodeRemoved", message).with("node", node.as_str())
}

/// Its node is lost.
pub(super) fn node_lost(record: &FileServerRecord, node: &NodeName) -> ErrorRecord {
    let message = format!(
        "node '{node}', which has the files of file server '{}', is not heard of: jobs that mount it wait until that node is \
         back",
        record.path.name
    );
    ErrorRecord::new("FileServerNodeLost", message).with("node", node.as_str())
}

/// Its node is lost while it is being deleted.
pub(super) fn deletion_waits_for_node(record: &FileServerRecord, node: &NodeName) -> ErrorRecord {
    let message = format!(
        "node '{node}', which has the files of file server '{}', is not heard of: it is deleted when that node is back, or \
         once it is removed with `lote node remove {node}`",
        record.path.name
    );
    ErrorRecord::new("FileServerNodeLost", message).with("node", node.as_str())
}

/// Jobs mount it while it is being deleted.
pub(super) fn in_use(
    record: &FileServerRecord,
    count: usize,
    named: Option<String>,
) -> ErrorRecord {
    let name = &record.path.name;
    let named = named.map_or_else(String::new, |job| format!(", such as '{job}'"));
    let (jobs, they_have) = if count == 1 {
        ("1 job that mounts it runs".to_owned(), "that has")
    } else {
        (format!("{count} jobs that mount it run"), "these have")
    };
    let message = format!(
        "file server '{name}' is being deleted, and {jobs}{named}: it is served until {they_have} ended"
    );
    ErrorRecord::new("FileServerInUse", message).with("jobs", count.to_string())
}
