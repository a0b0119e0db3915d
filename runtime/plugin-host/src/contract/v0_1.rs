//! Contract 0.1: its generated bindings, and calls that speak the runtime's types.

use lote_model::plan::{AllocationInput, Descriptor, Issue, JobInput, LaunchPlan, PlanFailure};
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Engine, Store};

use super::convert;
use crate::sandbox::{CallState, Level, link_wasi};
use generated::{FrameworkPlugin, FrameworkPluginPre};

pub(super) mod generated {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::pedantic,
        reason = "generated from wit/0.1, which documents it"
    )]

    wasmtime::component::bindgen!({
        path: "../../wit/0.1",
        world: "framework-plugin",
    });
}

pub(super) use generated::exports::lote::framework::framework::Descriptor as WitDescriptor;
pub(super) use generated::lote::framework::types as wit;

/// A component whose imports and exports have been matched with the contract.
pub(crate) struct Contract {
    pre: FrameworkPluginPre<CallState>,
}

impl generated::lote::framework::types::Host for CallState {}

impl generated::lote::framework::diagnostics::Host for CallState {
    fn report(&mut self, level: generated::lote::framework::diagnostics::Level, message: String) {
        use generated::lote::framework::diagnostics::Level as Wit;
        let level = match level {
            Wit::Debug => Level::Debug,
            Wit::Info => Level::Info,
            Wit::Warning => Level::Warning,
            Wit::Error => Level::Error,
        };
        self.reports.add(level, &message);
    }
}

impl Contract {
    /// Matches a component with the contract, once for all calls.
    pub(crate) fn bind(
        engine: &Engine,
        component: &Component,
        with_wasi: bool,
    ) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(engine);
        FrameworkPlugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
        if with_wasi {
            link_wasi(&mut linker)?;
        }
        let pre = FrameworkPluginPre::new(linker.instantiate_pre(component)?)?;
        Ok(Self { pre })
    }

    pub(crate) fn describe(&self, store: &mut Store<CallState>) -> wasmtime::Result<Descriptor> {
        let plugin = self.pre.instantiate(&mut *store)?;
        let descriptor = plugin.lote_framework_framework().call_describe(store)?;
        Ok(convert::descriptor(descriptor))
    }

    pub(crate) fn validate(
        &self,
        store: &mut Store<CallState>,
        job: &JobInput,
    ) -> wasmtime::Result<Result<String, Vec<Issue>>> {
        let plugin = self.pre.instantiate(&mut *store)?;
        let job = convert::job(job);
        let answer = plugin
            .lote_framework_framework()
            .call_validate(store, &job)?;
        Ok(answer.map_err(convert::issues))
    }

    pub(crate) fn plan(
        &self,
        store: &mut Store<CallState>,
        job: &JobInput,
        allocation: &AllocationInput,
    ) -> wasmtime::Result<Result<LaunchPlan, PlanFailure>> {
        let plugin = self.pre.instantiate(&mut *store)?;
        let (job, allocation) = (convert::job(job), convert::allocation(allocation));
        let framework = plugin.lote_framework_framework();
        let answer = framework.call_plan(store, &job, &allocation)?;
        Ok(answer
            .map(convert::launch_plan)
            .map_err(convert::plan_failure))
    }
}
