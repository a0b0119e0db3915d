//! The hands: what one node does for the cluster.

pub mod agent;
pub mod cgroup;
mod command;
pub mod container;
mod descriptor;
pub mod devices;
mod directories;
pub mod export;
pub mod gpu;
pub mod isolation;
pub mod launch;
pub mod mount;
mod numa;
mod operator_table;
pub mod peer;
pub mod power;
mod spool;

pub use spool::SpoolConfig;
