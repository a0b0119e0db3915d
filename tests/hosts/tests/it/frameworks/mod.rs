//! Every framework, really run: the recipes of `docs/recipes` over two hosts on real data, and the
//! published recipes of the original service as they are. `cargo xtask test frameworks` installs
//! what they need and runs them.
//!
//! * [`recipes`] — our recipes: accuracy, files, both hosts.
//! * [`originals`] — job files of the original service, by its own client and by `lote`.
//! * [`command_line`] — `lote run --framework`.
//! * [`secrets`] — what the command lines of remote ranks show.
//! * [`containers`] — ranks in the container of another host.
//! * [`endings`] — a rank that dies, a job that is ended.
//! * [`stand_ins`] — the programs that stand in for what cannot be had refuse what is wrong.
//! * [`site`] — the two hosts.

mod command_line;
mod containers;
mod endings;
mod originals;
mod recipes;
mod secrets;
mod site;
mod stand_ins;
