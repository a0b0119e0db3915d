//! Remote starts inside a job: the program `lote-rsh`, and what it and the daemons say to each
//! other.
//!
//! * [`protocol`] — frames; the program itself is built with the same file.

pub mod protocol;

/// The program, a static executable for this machine's architecture.
pub const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/lote-rsh"));

/// What the program is called in a job's directory for remote starts.
pub const PROGRAM_NAME: &str = "lote-rsh";
