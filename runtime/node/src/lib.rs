//! The hands: what one node does for the cluster.

pub mod cgroup;
mod descriptor;
pub mod isolation;
pub mod launch;
