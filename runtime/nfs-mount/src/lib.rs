//! A mount of an NFS export in user space, for nodes whose kernel has no NFS client.
//!
//! One process is one mount: the kernel's FUSE asks it, and it asks the server over NFS version 3. It behaves as the
//! kernel's NFS client does with a hard mount: calls wait while the server is away, and only a signal that ends the caller
//! ends its waiting. What one node has written and closed, another sees when it opens the file after that.
//!
//! * `options` — the command line.
//! * `daemon` — mounts, says so, waits for the end.
//! * `filesystem` — takes the kernel's requests, each into a task of its own.
//! * `mount` — what is done for each: names, attributes, data, directories.
//! * `write` — data that the kernel has handed over and the server has not on disk yet.
//! * `inode`, `directory`, `caller`, `attributes`, `status` — what these share.
//! * `nfs` — the calls of the protocol, typed, with what a repeated call has to expect.
//! * `rpc` — connections, credentials, and the waiting for a server that is away.
//!
//! Locks (`flock`, `fcntl`) are those of this node's kernel: other nodes do not see them.

mod attributes;
mod caller;
mod daemon;
mod directory;
mod filesystem;
mod inode;
mod mount;
mod nfs;
mod options;
mod rpc;
mod status;
mod write;

pub use daemon::main;

/// The first argument of the program that makes it such a mount.
pub const NFS_MOUNT_SUBCOMMAND: &str = "nfs-mount";
