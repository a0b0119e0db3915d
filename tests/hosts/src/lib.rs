//! Many hosts on one machine: network namespaces on a bridge, each with a daemon, a data folder,
//! an address and control groups of its own, and etcd members beside them.
//!
//! * [`network`] — the bridge, and a namespace per host that can be cut off, delayed and healed.
//! * [`host`] — one machine: whatever runs on it, and the end of all of it at once.
//! * [`etcd`] — the members of an etcd cluster.
//! * [`daemon`] — a Lote daemon on a host: started, killed, paused, restarted.
//! * [`lab`] — all of it together.
//! * [`console`] — the commands of `cargo xtask hosts`.
//!
//! It needs root. Everything it makes carries the number of its network, and is gone when it is
//! dropped.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "this is test code: a broken expectation ends the test with its sentence"
)]

pub mod console;
pub mod daemon;
pub mod etcd;
pub mod host;
pub mod lab;
pub mod network;

mod control_group;

pub use daemon::HostDaemon;
pub use etcd::Member;
pub use host::Host;
pub use lab::{Lab, LabOptions};
pub use network::Network;
