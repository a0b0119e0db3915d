//! The calls of the protocol, typed, with what a repeated call has to expect.
//!
//! * `connect` — the mount protocol, and the limits of the server.
//! * `names` — calls that change or read directories.
//! * `data` — calls on one file.

mod connect;
mod data;
mod names;

use std::sync::Arc;

use nfs3_types::nfs3::{fattr3, nfs_fh3};

pub(crate) use connect::{ConnectError, connect};
pub(crate) use data::Written;
pub(crate) use names::{Listed, New};

use crate::rpc::Pool;

/// A file as the server knows it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) handle: nfs_fh3,
    pub(crate) attributes: fattr3,
}

/// How much the server takes and gives at once, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) read: u32,
    pub(crate) write: u32,
    pub(crate) directory: u32,
}

/// One export of one server.
#[derive(Clone)]
pub(crate) struct Nfs {
    pool: Arc<Pool>,
    pub(crate) limits: Limits,
}
