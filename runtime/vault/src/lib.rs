//! Secrets at rest.
//!
//! * [`key`] — the cluster's key, a file that only the daemon can read, and what is derived from it.
//! * [`seal`] — a resource's secrets, sealed with it for the store.
//! * [`authority`] — the cluster's certificate authority, and certificates for its daemons.
//! * [`table`] — the operator's own table of secrets that requests only refer to.
//! * [`file`] — how files of secrets are written and read.
//!
//! Invariants: no error says a value; a sealed bundle opens under the store key it
//! was sealed for and no other, so that nobody who can write to the store moves the
//! secrets of one resource to another. Only this crate names the cipher.

pub mod authority;
pub mod file;
pub mod key;
pub mod seal;
pub mod table;

pub use authority::{Authority, AuthorityError, AuthorityRecord, Certified};
pub use key::{KeyError, SealingKey, adopt_sealing_key, find_sealing_key, sealing_key};
pub use seal::{SealError, Sealed};
pub use table::{SecretTable, TableError};
