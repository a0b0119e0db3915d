//! The hands: what one node does for the cluster.

pub mod agent;
pub mod cgroup;
mod descriptor;
pub mod devices;
pub mod export;
pub mod gpu;
pub mod isolation;
pub mod launch;
mod numa;
pub mod power;
