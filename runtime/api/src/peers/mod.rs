//! From daemon to daemon: the peer door, and requests to the peer doors of others.
//!
//! Files of jobs lie where the jobs ran, those of file servers where these are served.
//! The daemon that a client asks finds out who asks and what they may; then it fetches
//! what lies elsewhere from the daemon there, or brings it there. Both show certificates
//! of the cluster's authority.
//!
//! * [`credentials`] — what this daemon shows, and whom it believes.
//! * [`door`] — the listener for other daemons.
//! * [`operations`] — the few things that other daemons may ask for.
//! * [`remote`] — connections that carry remote starts inside a gang.
//! * [`client`] — asking the daemon of another node.
//!
//! Invariants: a peer is asked for what lies on its own node only, so that no
//! request goes around; nothing that the client sent to prove who it is travels on;
//! a certificate alone is not enough: its node must still be in the store.

mod client;
mod credentials;
mod door;
mod operations;
mod remote;

pub(crate) use client::{Errand, LogErrand, ask, ask_with, is_unreachable, passed_on};
pub use credentials::{PeerCredentials, PeerCredentialsError};
pub use door::serve as serve_peers;
pub use remote::{PeerStream, RemoteStartDoor, open_channel};
