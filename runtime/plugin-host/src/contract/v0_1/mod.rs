//! Contract 0.1: its generated bindings, and calls that speak the runtime's types.

mod convert;

use lote_model::plan::{AllocationInput, Descriptor, Issue, JobInput, LaunchPlan, PlanFailure};
use wasmtime::Store;
use wasmtime::component::{Component, HasSelf, Linker};

use super::{Contract, Version, report};
use crate::sandbox::{CallState, Level};
use generated::{FrameworkPlugin, FrameworkPluginPre};

mod generated {
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

use generated::exports::lote::framework::framework::Descriptor as WitDescriptor;
use generated::lote::framework::types as wit;

/// The contract that `wit/0.1` publishes.
pub(super) const VERSION: Version = Version {
    offered: "0.1.0",
    line: "0.1.",
    bind: |mut linker, component| {
        FrameworkPlugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
        bind(&linker, component)
    },
};

/// A component that exports what `wit/0.1` says.
struct Bound {
    pre: FrameworkPluginPre<CallState>,
}

fn bind(linker: &Linker<CallState>, component: &Component) -> wasmtime::Result<Box<dyn Contract>> {
    let pre = FrameworkPluginPre::new(linker.instantiate_pre(component)?)?;
    Ok(Box::new(Bound { pre }))
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
        report(self, level, &message);
    }
}

impl Contract for Bound {
    fn describe(&self, store: &mut Store<CallState>) -> wasmtime::Result<Descriptor> {
        let plugin = self.pre.instantiate(&mut *store)?;
        let descriptor = plugin.lote_framework_framework().call_describe(store)?;
        Ok(convert::descriptor(descriptor))
    }

    fn validate(
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

    fn plan(
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
