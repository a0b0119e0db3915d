//! The framework plugins of this daemon: those in the binary, and those in the
//! operator's folder, which are looked at again and again.

use std::sync::Arc;
use std::time::Duration;

use lote_cli::node_args::NodeSettings;
use lote_plugin_host::{AllowListError, Builtin, Host, HostError, Registry, Sources};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

include!(concat!(env!("OUT_DIR"), "/builtins.rs"));

/// How often the folder is looked at: a few system calls, on any file system. A file that
/// is new is loaded at the second look that finds it the same.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where a node image has the plugins of the binary compiled.
const PROVIDED_CODE: &str = "/usr/lib/lote/plugins";

/// There are no plugins.
#[derive(Debug, thiserror::Error)]
pub(super) enum PluginsError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    AllowList(#[from] AllowListError),
}

/// The plugins in the binary.
pub(crate) fn builtins() -> &'static [Builtin] {
    BUILTINS
}

/// Loads all plugins. One that does not load is logged with its reason and left
/// out; jobs that name it are refused.
pub(super) fn load(settings: &NodeSettings) -> Result<Arc<Registry>, PluginsError> {
    let cache = settings.data_dir.join("plugins");
    let registry = Registry::open(
        Host::new(Some(&cache))?.with_provided(PROVIDED_CODE.into()),
        Sources {
            builtins: BUILTINS,
            folder: settings.plugin_dir.clone(),
            allow: settings.plugin_allow.clone(),
        },
    )?;
    for plugin in registry.list() {
        tracing::debug!(?plugin, "plugin");
    }
    Ok(Arc::new(registry))
}

/// Swaps plugins when files in the folder change. Running jobs have their plans and notice
/// nothing.
pub(super) async fn follow(
    registry: Arc<Registry>,
    settings: NodeSettings,
    stop: CancellationToken,
) {
    if settings.plugin_dir.is_none() {
        return;
    }
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let registry = Arc::clone(&registry);
        // Compiling takes a while, and a folder on a network may not answer.
        let changed = tokio::task::spawn_blocking(move || {
            registry.reload_if_changed().then(|| names(&registry))
        });
        if let Ok(Some(names)) = changed.await {
            tracing::info!(plugins = names, "the plugin folder has changed");
        }
    }
}

/// Each plugin with its version.
fn names(registry: &Registry) -> String {
    let plugins = registry.list().into_iter();
    let names: Vec<String> = plugins
        .map(|it| format!("{}@{}", it.descriptor.name, it.descriptor.version))
        .collect();
    names.join(", ")
}
