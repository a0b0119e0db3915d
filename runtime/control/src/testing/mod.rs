//! For tests and measurements: builders of records, a store of plain maps, and a world around
//! both in which decisions are carried out at once, or one by one as a test likes.

mod build;
mod file_server;
mod fits;
mod ledger;
mod world;

pub use build::{ClusterBuilder, JobBuilder, NodeBuilder, cluster, job, node, worker, workspace};
pub use file_server::{file_server, mounting, not_serving, serving};
pub use fits::assert_fits;
pub use ledger::Ledger;
pub use world::{World, at_second};
