//! Loads, limits, calls and caches framework plugins.
//!
//! A plugin is a WebAssembly component after `wit/`. What it may do is what it
//! imports, and what it may import is a list in [`mod@inspect`]: it reaches no file, no
//! network, no clock and no other plugin, and what it answers is checked as if an
//! enemy had written it.
//!
//! * [`Registry`] — the plugins of a daemon, built in or from a folder, replaced at once.
//! * [`Host`] — loads one component; `inspect`, `descriptor` and `conformance` are its steps.
//! * [`Examination`] — the checks of a load one by one, for authors.
//! * [`AllowList`] — the operator's word on which components of the folder may be loaded.
//! * [`Plugin`] — a loaded one: `validate` and `plan`. Each call gets an instance of its own.
//! * `folder`, `versions` — the operator's files, and which plugin a job gets.
//! * `sandbox` — engine, limits, deadlines and what an instance may use.
//! * `contract` — one module per contract version, from its types to the runtime's own.
//! * `cache` — compiled code on disk.
//! * [`PluginError`] — everything that can go wrong with a plugin.
//!
//! Calls block for as long as the plugin computes, at most until its deadline: async
//! callers go through their blocking pool. Only this crate names wasmtime.

mod allow;
mod cache;
mod check;
mod conformance;
mod contract;
mod descriptor;
mod error;
mod folder;
mod frameworks;
mod host;
mod inspect;
mod plugin;
mod registry;
mod sandbox;
mod versions;

pub use allow::{AllowList, AllowListError};
pub use cache::CacheError;
pub use check::{Checked, Examination, Outcome, Step};
pub use error::{Identity, PlanError, PluginError, Problem, ValidateError};
pub use host::{Host, HostError, MAX_COMPONENT_BYTES, compile_for_any_processor, digest};
pub use plugin::{CallFigures, Plugin, PluginInfo, Trial};
pub use registry::{Builtin, Failure, Registry, Sources};
pub use sandbox::{Level, MEMORY_BYTES, Report};
