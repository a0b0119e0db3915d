//! Remote starts inside a gang: what `rsh` and `ssh` do for `mpirun`, without servers, keys or
//! processes outside the job.
//!
//! ```text
//! lote-rsh ──socket──▶ daemon ──the daemons' door──▶ daemon there ──▶ shim ──▶ the command
//!  in the job           door                          admission        process    in the job
//! ```
//!
//! * `door` — the socket in the job, at which its processes ask.
//! * `caller` — which process asks, and whether it is one of the job.
//! * `relay` — from there to the daemon of another node, and back.
//! * `admission` — what the asked daemon finds out for itself before anything is started.
//! * `member` — a job's part here: from its preparation to its end.
//! * `members` — all of them.
//! * `process` — one started command, found again by its run record.
//! * `session` — its streams, its signals and its end, for as long as somebody listens.
//! * `hang_up` — ends it when nobody does.
//! * `frames` — the messages ([`lote_rsh::protocol`]), read and written.
//! * `directory` — what a job sees of it.
//!
//! Invariants: only a process in the job's control group starts anything; only nodes of the job's
//! gang are asked, and the asked one believes the store and the certificate, not the asker; a
//! start has a run record like every process, so it happens once, and the job's end is the end of
//! it. No environment is written anywhere, and no command into a log without its secrets blacked
//! out.

mod admission;
mod caller;
mod directory;
mod door;
mod frames;
mod hang_up;
mod member;
mod members;
mod process;
mod relay;
mod session;

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use lote_model::id::NodeName;
use tokio::io::{AsyncRead, AsyncWrite};

pub use admission::RemoteStarts;
pub(crate) use directory::{PEERS, capability, install, make, offers};
pub(crate) use member::{Member, MemberParts, RemoteStart};
pub(crate) use members::Members;
pub(crate) use process::all_records;

/// A connection on which messages about one remote start travel.
pub trait Channel: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Channel for T {}

/// A channel of any kind.
pub type BoxedChannel = Box<dyn Channel>;

/// A channel on its way; or why there is none, as the end of a sentence about the node.
pub type Calling<'a> = Pin<Box<dyn Future<Output = Result<BoxedChannel, String>> + Send + 'a>>;

/// The way to the daemons of other nodes.
pub trait PeerCalls: Debug + Send + Sync {
    /// Opens a channel to the daemon of `node`, which [`RemoteStarts::serve`]s it.
    fn call<'a>(&'a self, node: &'a NodeName) -> Calling<'a>;
}
