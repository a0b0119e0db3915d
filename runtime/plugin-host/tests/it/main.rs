//! The plugin host with real components, which `cargo xtask plugins` builds.

mod agreement;
mod cache;
mod components;
mod hostile;
mod loading;
mod registry;
