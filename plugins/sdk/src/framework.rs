//! What a plugin implements, and how that becomes the contract's three functions.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Descriptor;
use crate::bindings::exports::lote::framework::framework::Guest;
use crate::issues::{issue, parse_settings};
use crate::types::{Allocation, Issue, Job, LaunchPlan, PlanFailure};

/// A framework. All functions are pure: equal arguments give equal results.
pub trait Framework {
    /// The settings object of the API. Members that the user may leave out are
    /// `Option`s; serde's `deny_unknown_fields` finds misspelt ones.
    type Settings: DeserializeOwned + Serialize;

    /// The plugin's name, version and settings schema.
    fn describe() -> Descriptor;

    /// Checks the settings and writes their defaults in.
    ///
    /// # Errors
    /// Everything that is wrong, not only the first thing.
    fn complete(settings: Self::Settings, job: &Job) -> Result<Self::Settings, Vec<Issue>>;

    /// Makes the plan. The settings are complete.
    ///
    /// # Errors
    /// Why this job cannot run, or not on these nodes.
    fn plan(
        settings: &Self::Settings,
        job: &Job,
        allocation: &Allocation,
    ) -> Result<LaunchPlan, PlanFailure>;
}

/// A [`Framework`] as the contract's exports.
pub struct Adapter<F>(PhantomData<F>);

impl<F: Framework> Adapter<F> {
    fn settings(job: &Job) -> Result<F::Settings, Vec<Issue>> {
        F::complete(parse_settings(&job.settings)?, job)
    }
}

impl<F: Framework> Guest for Adapter<F> {
    fn describe() -> Descriptor {
        report_panics();
        F::describe()
    }

    fn validate(job: Job) -> Result<String, Vec<Issue>> {
        report_panics();
        serde_json::to_string(&Self::settings(&job)?)
            .map_err(|error| vec![issue("", format!("cannot be written back: {error}"))])
    }

    fn plan(job: Job, allocation: Allocation) -> Result<LaunchPlan, PlanFailure> {
        report_panics();
        let settings = Self::settings(&job).map_err(PlanFailure::Invalid)?;
        F::plan(&settings, &job, &allocation)
    }
}

/// A panic ends a component without a word; after this its text reaches the host
/// first. [`Adapter`] does it; only who implements the exports by hand needs to.
pub fn report_panics() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| {
        crate::report(crate::Level::Error, &panic.to_string());
    }));
}
