//! The contract with plugins, one module per version. A plugin of any version is
//! called with the runtime's own types; generated types stay in their module.
//!
//! [`VERSIONS`] is the whole of it: a component's exports name the version it was built
//! for, the entry of that version matches the component with its own generated types,
//! and whatever comes of it is called as a [`Contract`]. A new version is one more
//! module and one more entry; nothing else of the runtime notices.

/// What a version 0.2 could look like beside 0.1; only tests load its plugins.
#[cfg(test)]
#[path = "../../tests/draft/adapter.rs"]
mod draft_0_2;
#[cfg(test)]
mod tests;
mod v0_1;

use lote_model::plan::{AllocationInput, Descriptor, Issue, JobInput, LaunchPlan, PlanFailure};
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store};

use crate::sandbox::{CallState, Level, link_wasi};

/// The package of every interface of the contract.
pub(crate) const PACKAGE: &str = "lote:framework/";

/// What a plugin must export.
pub(crate) const FRAMEWORK: &str = "lote:framework/framework";
/// What it may export to turn log lines into numbers.
pub(crate) const PROGRESS: &str = "lote:framework/progress";
/// What it may export to be asked about unforeseen ends.
pub(crate) const SUPERVISION: &str = "lote:framework/supervision";

/// A component whose imports and exports have been matched with its contract. Each call
/// makes an instance of its own in the store it is given.
pub(crate) trait Contract: Send + Sync {
    fn describe(&self, store: &mut Store<CallState>) -> wasmtime::Result<Descriptor>;

    fn validate(
        &self,
        store: &mut Store<CallState>,
        job: &JobInput,
    ) -> wasmtime::Result<Result<String, Vec<Issue>>>;

    fn plan(
        &self,
        store: &mut Store<CallState>,
        job: &JobInput,
        allocation: &AllocationInput,
    ) -> wasmtime::Result<Result<LaunchPlan, PlanFailure>>;
}

/// Matches a component with a version of the contract.
type Bind = fn(Linker<CallState>, &Component) -> wasmtime::Result<Box<dyn Contract>>;

/// A version of the contract.
pub(crate) struct Version {
    /// The newest of the line that this host offers.
    pub(crate) offered: &'static str,
    /// Versions that begin like this differ only in what old plugins do not notice.
    line: &'static str,
    /// Matches a component with it, once for all calls. The linker offers what the
    /// component may import beside the contract.
    bind: Bind,
}

/// Every version whose plugins are loaded, the newest last.
pub(crate) const VERSIONS: &[Version] = &[
    v0_1::VERSION,
    #[cfg(test)]
    draft_0_2::VERSION,
];

impl Version {
    /// The version that a component was built for, if this host has it.
    pub(crate) fn of(built_for: &str) -> Option<&'static Self> {
        let mut versions = VERSIONS.iter();
        versions.find(|version| built_for.starts_with(version.line))
    }

    /// Whether plugins built for `built_for` are called by this version's module.
    pub(crate) fn covers(&self, built_for: &str) -> bool {
        built_for.starts_with(self.line)
    }

    /// Matches a component with this version.
    pub(crate) fn bind(
        &self,
        engine: &Engine,
        component: &Component,
        with_wasi: bool,
    ) -> wasmtime::Result<Box<dyn Contract>> {
        let mut linker = Linker::new(engine);
        if with_wasi {
            link_wasi(&mut linker)?;
        }
        (self.bind)(linker, component)
    }
}

/// What this host offers, for people: `0.1.0`, or `0.1.0 and 0.2.0`.
pub(crate) fn offered() -> String {
    let versions: Vec<&str> = VERSIONS.iter().map(|version| version.offered).collect();
    versions.join(" and ")
}

/// Name and version of an interface: `a:b/c@1.2.3`.
pub(crate) fn split_version(interface: &str) -> (&str, &str) {
    interface.split_once('@').unwrap_or((interface, ""))
}

/// Lines of the log, which are alike in all versions.
fn report(state: &mut CallState, level: Level, message: &str) {
    state.reports.add(level, message);
}
