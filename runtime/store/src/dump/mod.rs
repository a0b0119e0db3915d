//! The whole state as lines of JSON, and back: for a copy to keep, and for a move from one back
//! end to another.
//!
//! * `line`: what the lines say.
//! * `export`: from a store in use to lines.
//! * `import`: from lines into an empty store.

mod export;
mod import;
mod line;

pub use export::Export;
pub use import::{ImportError, ImportPlan, Imported, is_half_imported};
pub use line::{Header, LineError, VERSION};

/// The key whose change marks the end of an export in the history: a store that shares its etcd
/// with others cannot tell from a revision alone whether a watch has told everything before it.
pub const EXPORT_SYNC: &str = "sync/export";

/// There while an import is under way, so that nobody works with half a state.
pub const IMPORT_MARK: &str = "import";
