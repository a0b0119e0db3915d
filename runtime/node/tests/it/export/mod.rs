//! File servers: a node that exports, real NFS-Ganesha, and clients that others wrote.
//!
//! `libnfs` (`nfs-ls`, `nfs-cp`, `nfs-cat`) is the foreign client; `client` speaks version 3
//! through a crate where `libnfs` has no command.

mod client;
mod network;
pub mod server;
mod tests;

pub use tests::TESTS;
