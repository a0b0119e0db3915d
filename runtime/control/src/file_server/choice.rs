//! Which node a file server gets.

use lote_model::file_server::FileServerRecord;
use lote_model::id::NodeName;
use lote_model::job::ErrorRecord;

use super::errors;
use crate::decide::Pass;
use crate::explain::site::{Site, Size};

/// Why there is no node for a file server.
pub(super) enum Lack {
    /// Until the user asks for another one, or the operator changes the node.
    Never(ErrorRecord),
    /// Until one comes that will do.
    Now(ErrorRecord),
}

/// The node that the user named; else of those of the size that take work the one with the
/// fewest file servers, by name among equals.
pub(super) fn choose<'a>(pass: &Pass<'a>, record: &FileServerRecord) -> Result<&'a NodeName, Lack> {
    let properties = &record.properties;
    let size = &properties.vm_size;
    if let Some(wanted) = &properties.lote.node {
        return named(pass, record, wanted);
    }
    let suits = |name: &NodeName| {
        let node = pass.node(name).filter(|node| node.is_usable());
        let record = node.and_then(|node| node.record.as_deref());
        record.is_some_and(|record| record.size.eq_ignore_ascii_case(size))
    };
    let able = pass.snapshot.nodes().keys().filter(|name| suits(name));
    let count = |name: &&NodeName| pass.serving.get(*name).copied().unwrap_or_default();
    able.min_by_key(count).ok_or_else(|| {
        let site = Site::of(pass);
        let of_size = site.size(&size.to_ascii_lowercase());
        let why = of_size.and_then(Size::away);
        Lack::Now(errors::no_node(record, of_size.is_some(), why))
    })
}

fn named<'a>(
    pass: &Pass<'a>,
    record: &FileServerRecord,
    wanted: &NodeName,
) -> Result<&'a NodeName, Lack> {
    let found = pass.snapshot.nodes().get_key_value(wanted);
    let found = found.and_then(|(name, node)| Some((name, node.record.as_deref()?)));
    let Some((name, node)) = found else {
        return Err(Lack::Never(errors::no_such_node(record, wanted)));
    };
    if node.size.eq_ignore_ascii_case(&record.properties.vm_size) {
        Ok(name)
    } else {
        Err(Lack::Never(errors::other_size(record, node)))
    }
}
