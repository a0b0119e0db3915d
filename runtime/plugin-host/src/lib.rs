//! Loads, limits, calls and caches framework plugins.
//!
//! A plugin is a WebAssembly component after `wit/`. What it may do is what it
//! imports, and what it may import is a list in [`mod@inspect`]: it reaches no file, no
//! network, no clock and no other plugin, and what it answers is checked as if an
//! enemy had written it.
//!
//! * [`Registry`] — the plugins of a daemon, built in or from a folder, replaced at once.
//! * [`Host`] — loads one component; `inspect`, `descriptor` and `conformance` are its steps.
//! * [`Plugin`] — a loaded one: `validate` and `plan`. Each call gets an instance of its own.
//! * `sandbox` — engine, limits, deadlines and what an instance may use.
//! * `contract` — one module per contract version, from its types to the runtime's own.
//! * `cache` — compiled code on disk.
//! * [`PluginError`] — everything that can go wrong with a plugin.
//!
//! Calls block for as long as the plugin computes, at most until its deadline: async
//! callers go through their blocking pool. Only this crate names wasmtime.

mod cache;
mod conformance;
mod contract;
mod descriptor;
mod error;
mod frameworks;
mod host;
mod inspect;
mod plugin;
mod registry;
mod sandbox;

pub use cache::CacheError;
pub use error::{Identity, PlanError, PluginError, Problem, ValidateError};
pub use host::{Host, HostError, MAX_COMPONENT_BYTES};
pub use plugin::{Plugin, PluginInfo};
pub use registry::{Builtin, Failure, Registry};
