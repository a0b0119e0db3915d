//! The plugin host with real components, which `cargo xtask plugins` builds.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod agreement;
mod cache;
mod components;
mod hostile;
mod loading;
mod properties;
mod registry;
