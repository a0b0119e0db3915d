//! Connections, credentials, and the waiting for a server that is away.

mod connection;
mod credential;
mod pool;

pub(crate) use connection::{Wire, connect};
pub(crate) use credential::Credential;
pub(crate) use pool::{Answer, Pool};
