//! For authors of framework plugins.
//!
//! A plugin is a crate of type `cdylib` and `rlib` with one type that implements
//! [`Framework`] and one line, `lote_plugin_sdk::register!(TheType);`. Built for
//! `wasm32-unknown-unknown` it is a component that the daemon loads; built for the
//! machine it is an ordinary library that tests run.
//!
//! * [`Framework`] — what a plugin implements, with typed settings.
//! * [`types`] — the job, the nodes and the plan of the contract (`wit/0.1`).
//! * [`issues`] — what to tell a user whose settings are wrong.
//! * [`ranks`] — how processes spread over nodes.
//! * [`hosts`] — the host file that every plan carries.
//! * [`shell`] — command lines whose variables the node's shell expands.
//! * [`python`] — command lines that run a Python script.
//! * `testkit` — runs a folder of cases against their expected plans (not in components).
//!
//! Invariant: nothing here reads a file, a clock or the environment, except the test kit.

pub mod bindings;
mod framework;
pub mod hosts;
pub mod issues;
pub mod python;
pub mod ranks;
pub mod shell;
#[cfg(not(target_arch = "wasm32"))]
pub mod testkit;

pub use bindings::exports::lote::framework::framework::Descriptor;
pub use bindings::lote::framework::types;
pub use framework::{Adapter, Framework, report_panics};

/// Levels of [`report`].
pub use bindings::lote::framework::diagnostics::Level;

/// Sends a line to the daemon's log, marked with the plugin's name. Nothing comes back.
pub fn report(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    bindings::lote::framework::diagnostics::report(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("{level:?}: {message}");
}

/// Makes the crate's component export this [`Framework`].
///
/// Only components get the exports: their names contain `:` and `#`, which the
/// linkers of ordinary libraries refuse.
#[macro_export]
macro_rules! register {
    ($framework:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(
            unsafe_code,
            clippy::pedantic,
            reason = "the generated exports are the raw calls of the component's interface"
        )]
        mod component_exports {
            use super::*;
            type Exported = $crate::Adapter<$framework>;
            $crate::bindings::export_framework!(Exported with_types_in $crate::bindings);
        }
    };
}
