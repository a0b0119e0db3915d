//! Which node a file server gets.

use lote_model::export::NfsAbility;
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

/// The node that the user named; else of those of the size that take work and can serve files the
/// one with the fewest file servers, by name among equals.
pub(super) fn choose<'a>(pass: &Pass<'a>, record: &FileServerRecord) -> Result<&'a NodeName, Lack> {
    let properties = &record.properties;
    let size = &properties.vm_size;
    if let Some(wanted) = &properties.lote.node {
        return named(pass, record, wanted);
    }
    let nodes = pass.snapshot.nodes().iter();
    let there = nodes.filter_map(|(name, node)| {
        let record = node.record.as_deref().filter(|_| node.is_usable())?;
        record
            .size
            .eq_ignore_ascii_case(size)
            .then_some((name, record))
    });
    let mut lack = None;
    let able = there.filter_map(|(name, record)| match &record.nfs {
        Some(NfsAbility::Lacks(why)) => {
            lack.get_or_insert((name, why));
            None
        }
        // One that does not say it finds out.
        Some(NfsAbility::Serves(_)) | None => Some(name),
    });
    let count = |name: &&NodeName| pass.serving.get(*name).copied().unwrap_or_default();
    let chosen = able.min_by_key(count);
    chosen.ok_or_else(|| {
        if let Some((name, why)) = lack {
            return Lack::Now(errors::none_serves(record, name, why));
        }
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
