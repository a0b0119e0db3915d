//! The nouns of Lote and the rules about them.
//!
//! Invariants: nothing here is async, nothing reads a clock or a random source,
//! nothing does I/O; time and randomness are arguments. Whatever comes from
//! HTTP or from a plugin is checked here before it reaches a node.
//!
//! * [`name`], [`path`], [`id`] — names users choose, where resources stand, ids Lote makes.
//! * [`workspace`], [`cluster`], [`file_server`], [`job`], [`node`] — the resources and their stored records.
//! * [`label`] — what operators say of a node.
//! * [`gpu`] — GPUs: what they are, and how near to each other.
//! * [`money`], [`spending`] — what clusters cost.
//! * [`quota`], [`usage`] — how much there may be, and how much there is.
//! * [`storage_account`] — accounts that clients ask about and Lote only knows by name.
//! * [`transfer`] — the chunks and digests in which files travel to and from file servers.
//! * [`state`] — the states of resources.
//! * [`allocation`], [`report`] — what the leader grants and what the nodes answer.
//! * [`export`] — what a node exports for a file server, and what has become of it.
//! * [`planned_mount`] — what a node mounts for a job.
//! * [`leader`] — who decides.
//! * [`membership`] — which cluster it is, and how a machine joins.
//! * [`fencing`] — by when a node that is cut off has ended its jobs.
//! * [`accounting`], [`fair_share`] — what a job used, and a workspace of late.
//! * [`daily_usage`] — what a workspace used on each day.
//! * [`sample`] — what a node and its GPUs did at one moment.
//! * [`plan`], [`plan_check`] — what plugins are given and make, and the check of it.
//! * [`framework`] — what is asked of plugins, whoever runs them.
//! * [`environment`] — the variables, directories and file names of a job on a node.
//! * [`key`] — the keys of the store.
//! * [`mount_volumes`], [`container`], [`node_setup`], [`image`] — parts of jobs and clusters.
//! * [`body`], [`job_request`], [`cluster_request`], [`request_check`] — from request bytes to
//!   checked resources.
//! * [`secret`], [`secret_members`] — secret values, and how they leave a body.
//! * [`access`] — who may do what: roles, scopes, permissions, tokens.
//! * [`problem`] — what is wrong with a request.
//! * [`duration`], [`quantity`], [`expand`] — small languages: durations, sizes, `$NAME`.

pub mod access;
pub mod accounting;
pub mod allocation;
pub mod body;
pub mod cluster;
pub mod cluster_request;
pub mod container;
pub mod daily_usage;
pub mod duration;
pub mod environment;
pub mod expand;
pub mod export;
pub mod fair_share;
pub mod fencing;
pub mod file_server;
pub mod framework;
pub mod gang_share;
pub mod gpu;
pub mod id;
pub mod image;
pub mod job;
pub mod job_request;
pub mod key;
pub mod label;
pub mod leader;
pub mod membership;
pub mod money;
pub mod mount_volumes;
pub mod name;
pub mod node;
pub mod node_setup;
pub mod path;
pub mod plan;
pub mod plan_check;
pub mod planned_mount;
pub mod problem;
pub mod quantity;
pub mod quota;
pub mod report;
pub mod request_check;
pub mod sample;
pub mod secret;
pub mod secret_members;
pub mod spending;
pub mod state;
pub mod storage_account;
pub mod transfer;
pub mod usage;
pub mod workspace;
