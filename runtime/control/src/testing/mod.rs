//! For tests and measurements: builders of records, a store of plain maps, and a world around
//! both in which decisions are carried out at once, or one by one as a test likes.

mod build;
mod file_server;
mod ledger;
mod world;

pub use build::{ClusterBuilder, JobBuilder, NodeBuilder, cluster, job, node, workspace};
pub use file_server::file_server;
pub use ledger::Ledger;
pub use world::{World, at_second};
