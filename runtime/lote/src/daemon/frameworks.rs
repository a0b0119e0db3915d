//! The framework plugins of this daemon: those in the binary, and those in the
//! operator's folder, which replace them by their settings member.

use lote_cli::node_args::NodeSettings;
use lote_plugin_host::{Builtin, Host, HostError, Registry};

include!(concat!(env!("OUT_DIR"), "/builtins.rs"));

/// Loads all plugins. One that does not load is logged with its reason and left
/// out; jobs that name it are refused.
pub(super) fn load(settings: &NodeSettings) -> Result<Registry, HostError> {
    let cache = settings.data_dir.join("plugins");
    let registry = Registry::open(
        Host::new(Some(&cache))?,
        BUILTINS,
        settings.plugin_dir.clone(),
    );
    for plugin in registry.list() {
        tracing::debug!(?plugin, "plugin");
    }
    Ok(registry)
}
