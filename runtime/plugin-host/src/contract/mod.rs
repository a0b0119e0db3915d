//! The contract with plugins, one module per version. A plugin of any version is
//! called with the runtime's own types; generated types stay in their module.

mod convert;
mod v0_1;

pub(crate) use v0_1::Contract;

/// The newest version this host offers.
pub(crate) const OFFERED: &str = "0.1.0";

/// Versions of this line differ only in what old plugins do not notice.
const COMPATIBLE: &str = "0.1.";

/// The package of every interface of the contract.
pub(crate) const PACKAGE: &str = "lote:framework/";

/// What a plugin must export.
pub(crate) const FRAMEWORK: &str = "lote:framework/framework";
/// What it may export to turn log lines into numbers.
pub(crate) const PROGRESS: &str = "lote:framework/progress";
/// What it may export to be asked about unforeseen ends.
pub(crate) const SUPERVISION: &str = "lote:framework/supervision";

/// Name and version of an interface: `a:b/c@1.2.3`.
pub(crate) fn split_version(interface: &str) -> (&str, &str) {
    interface.split_once('@').unwrap_or((interface, ""))
}

/// Whether this host can talk to plugins built for that version.
pub(crate) fn is_compatible(version: &str) -> bool {
    version.starts_with(COMPATIBLE)
}
