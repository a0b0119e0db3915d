//! The leader: it looks at what users want and what nodes report, and decides.
//!
//! [`decide`](decide::decide) is a pure function of a [`Snapshot`](snapshot::Snapshot) and
//! the time. Whoever owns a snapshot feeds it the store's events, carries the decisions out and
//! feeds it what came of them: the [`driver`] against a real store, the tests and a simulation
//! against maps.
//!
//! * [`snapshot`]: what of the store matters for deciding, indexed.
//! * [`decide`]: one pass over a snapshot.
//! * [`lifecycle`], [`conclusion`]: the next step of one job; how it ended.
//! * [`room`], [`abilities`], `free`, `nearness`: what fits where, and which nodes are near each
//!   other.
//! * `gpu_affinity`, `numa`: which GPUs, processors and memory of a node.
//! * [`placement`], `fair_share`: who comes first.
//! * `daily_usage`: what workspaces use by day.
//! * `stock`, [`reservation`]: what a pass has left to give, and what may overtake.
//! * [`obstacle`], [`mounts`]: what a job asks for and cannot have; what it mounts.
//! * `pool`, [`scaling`]: nodes of the pool, which cluster takes or gives back how many, and what
//!   they may cost.
//! * `power`: which machines are switched off and on.
//! * [`file_server`]: what becomes of file servers.
//! * [`explain`]: why a job waits.
//! * [`actions`], [`change`], [`launch`]: decisions, and the transactions they are made of.
//! * [`fence`]: what keeps a leader that was replaced from writing.
//! * [`driver`]: the loop around it: store, plugins and clock.
//! * [`config`]: every time and number that can be set.
//!
//! What must stay true here:
//!
//! * Only the driver knows a clock, a store or a plugin; the rest takes them as arguments.
//! * Nothing is remembered that cannot be derived from the store again, except how long ago
//!   something was seen and which plugin refused which nodes.
//! * A job that has ended takes no memory and no time.
//! * At most one action is under way for each job, cluster and left-over gang.

pub mod abilities;
pub mod actions;
pub mod change;
pub mod conclusion;
pub mod config;
mod daily_usage;
pub mod decide;
pub mod driver;
pub mod explain;
mod fair_share;
pub mod fence;
pub mod file_server;
mod free;
mod gpu_affinity;
pub mod launch;
pub mod lifecycle;
pub mod mounts;
mod nearness;
mod numa;
pub mod obstacle;
pub mod placement;
mod planted;
mod pool;
mod power;
pub mod reservation;
pub mod room;
pub mod scaling;
pub mod snapshot;
mod stock;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
