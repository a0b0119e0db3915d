//! The shapes of bodies, as the document describes them.
//!
//! They are descriptions only: requests are read and answers are written by the
//! model and the handlers, and the tests hold every answer against these. Names
//! are those of the Batch AI contract where it has one; what is Lote's own is
//! called `Lote…` or stands in a module of its own.
#![allow(
    dead_code,
    reason = "these types describe bodies; nothing makes values of them"
)]
#![allow(
    clippy::struct_field_names,
    reason = "members have the names of the contract"
)]

pub(crate) mod account;
pub(crate) mod catalogue;
pub(crate) mod cluster;
pub(crate) mod cluster_lote;
pub(crate) mod container;
pub(crate) mod daemon;
pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod experiment;
pub(crate) mod file;
pub(crate) mod file_server;
pub(crate) mod file_server_lote;
pub(crate) mod frameworks;
pub(crate) mod group;
pub(crate) mod installation_events;
pub(crate) mod job;
pub(crate) mod job_lote;
pub(crate) mod join;
pub(crate) mod login;
pub(crate) mod mounts;
pub(crate) mod node;
pub(crate) mod node_setup;
pub(crate) mod operation;
pub(crate) mod plan;
pub(crate) mod resource;
pub(crate) mod sample;
pub(crate) mod scale;
pub(crate) mod secret;
pub(crate) mod server_file;
pub(crate) mod token;
pub(crate) mod usage;
pub(crate) mod workspace;
