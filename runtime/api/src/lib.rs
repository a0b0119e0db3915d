//! The doors of Lote: its resources over HTTP.
//!
//! The API writes what users want into the store and tells what the leader and
//! the nodes have written there; it starts nothing and decides nothing.
//!
//! The way of a request: [`server`] accepts the connection, `front` finds out
//! under which prefix it came and brings its path into one form, `routes` picks
//! the handler, the handler reads and writes the store and answers in the
//! caller's own form. Before that, `auth` finds out who asks and whether they may;
//! after it, `audit` writes down what was changed or refused.
//!
//! * [`server`] — connections, time limits, shutdown.
//! * [`state`] — what all handlers share, and the settings.
//! * `front`, `normalise`, `request` — prefixes, paths, bodies, parameters.
//! * `leftover` — what a handler did not read of a body.
//! * `timed` — a connection whose client must take what is sent to it.
//! * `routes` — which handler answers which path.
//! * [`tls`] — encrypted connections.
//! * `auth` — who asks, and whether they may; `tokens` — tokens as resources.
//! * `audit` — the log of who did what.
//! * `groups`, `workspaces`, `experiments`, `clusters`, `file_servers`, `jobs`, `nodes`, `meta` — the resources.
//! * `remote_login`, `usages`, `catalogue`, `quota` — where to log in, how much there is and may be, what can be permitted.
//! * `neighbours` — other services that unmodified clients call; can be switched off.
//! * `openapi` — the description of all of it, `/v1/openapi.json`.
//! * `operation` — long-running operations, computed from the store.
//! * `archive` — writes down finished jobs and has them deleted; `export` — the whole state as lines.
//! * `janitor` — removes emptied containers that a user asked to delete.
//! * `files` — output directories: listing, signed links, ranges, following.
//! * `server_files` — files of file servers: listing, reading, uploads.
//! * `secrets` — sealed beside the record that they belong to.
//! * `events` — what happens to all resources, as it happens; `watches` — the store's, read as one.
//! * `mounts` — whether a caller may use what a body mounts.
//! * `peers` — other daemons: their door here, and requests to theirs.
//! * [`boot_files`] — what machines boot from over the network.
//! * `join` — machines that become nodes.
//! * `page`, `records`, `error`, `token`, `time` — what the handlers have in common.
//!
//! Invariants: only desired state is written, every write compares what it was
//! based on, and nothing but the store survives a request. Only this crate
//! names axum.

mod archive;
mod audit;
mod auth;
pub mod boot_files;
mod catalogue;
mod clusters;
mod daily_usage;
mod error;
mod events;
mod experiments;
mod export;
mod file_servers;
mod files;
mod fleet;
mod front;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod groups;
mod janitor;
mod jobs;
mod join;
mod leftover;
mod meta;
mod metrics;
mod mounts;
mod neighbours;
mod nodes;
mod normalise;
mod openapi;
mod operation;
mod page;
mod peers;
mod quota;
mod records;
mod remote_login;
mod request;
mod routes;
mod secrets;
pub mod server;
mod server_files;
pub mod state;
mod telemetry;
mod time;
mod timed;
pub mod tls;
mod token;
mod tokens;
mod usages;
mod watches;
mod workspaces;

pub use archive::Retention;
pub use audit::{AuditLog, AuditSink, Rotation};
pub use auth::{OperatorTokens, OperatorTokensError};
pub use join::JoinOffer;
pub use peers::{
    PeerCredentials, PeerCredentialsError, PeerStream, RemoteStartDoor, open_channel, serve_peers,
};
pub use routes::router;
pub use server::serve;
pub use state::{ApiConfig, ApiState, Clock};
pub use telemetry::{Telemetry, TelemetrySource};
