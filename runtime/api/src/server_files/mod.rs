//! The files of file servers: in and out, through any daemon.
//!
//! | Below the file server | |
//! | --- | --- |
//! | GET, DELETE `/files?path=` | lists a directory, or tells what one thing is; removes |
//! | GET, PUT `/content?path=` | reads a file or a part of it; writes a small one |
//! | PUT `/directories?path=`, `/links?path=` | makes a directory, a link |
//! | GET, PUT, POST, DELETE `/uploads/{upload}?path=` | which chunks are there; takes one; completes; gives up |
//!
//! Only the daemon of the node that serves the file server touches its disk, with
//! the rights of the workspace's user; others pass requests and bytes on by its
//! peer door, where the same is decided again from that node's own records.
//!
//! * [`place`] — which node, which directory.
//! * [`asked`] — one request, however it came; [`doors`] — from clients and from peers.
//! * [`entry`], [`listing`] — what is in a directory.
//! * [`tree`] — directories, links, removal.
//! * [`target`] — the name that something is written to.
//! * [`upload`] — files that come in chunks; [`whole`] — small ones that come at once.
//! * [`incoming`] — bytes on their way to the disk; [`busy`] — who writes where.
//! * [`stale`] — uploads that nobody goes on with.
//! * [`fault`] — what may go wrong, as answers.
//!
//! Invariants: nothing is opened but beneath the exported directory; a file has its
//! name only when all of it is there, checked and on disk; bytes count only after
//! their digest was found right.

mod asked;
mod busy;
mod doors;
mod entry;
mod fault;
mod incoming;
mod listing;
mod place;
pub(crate) mod stale;
mod target;
mod tree;
mod upload;
mod whole;

pub(crate) use doors::{content, directories, files, links, peer, peer_upload, upload};

/// How the names of files begin that are not complete yet. Such names are neither
/// listed nor taken.
const INCOMPLETE: &str = ".lote-upload-";
