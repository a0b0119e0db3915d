//! The hands: what one node does for the cluster.

pub mod agent;
pub mod cgroup;
mod descriptor;
pub mod isolation;
pub mod launch;
pub mod power;
