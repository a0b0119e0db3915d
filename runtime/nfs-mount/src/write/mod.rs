//! Data that the kernel has handed over and the server has not on disk yet.
//!
//! A write is taken into memory and answered, so that small ones become large ones and several large ones are on their way
//! at once. They are sent unstable, which lets the server answer before its disk does, and kept here until a COMMIT says that
//! they are durable: a server that restarted in between has another verifier, and what it may have lost is sent again.
//! Writing every piece synchronously instead would need no copy, and a wait for the server's disk for every megabyte.
//!
//! * `piece` — a run of bytes, cut where newer data covers it.
//! * `pending` — what of one file is where on its way; decides what may be sent. No I/O.
//! * `writer` — sends, commits, waits, and bounds the memory of all files together.

mod pending;
mod piece;
mod writer;

pub(crate) use pending::Pending;
pub(crate) use writer::Writer;
