//! The mount protocol, and the limits of the server.

use std::net::SocketAddr;
use std::sync::Arc;

use fuser::Errno;
use nfs3_client::{MountClient, MountError};
use nfs3_types::mount::dirpath;
use nfs3_types::nfs3::{FSINFO3args, FSINFO3resfail, FSINFO3resok, NFS_PROGRAM, ftype3, nfs_fh3};
use nfs3_types::rpc::opaque_auth;
use nfs3_types::xdr_codec::Opaque;
use thiserror::Error;

use super::{Found, Limits, Nfs};
use crate::options::Options;
use crate::rpc::{Credential, Pool, Wire, connect as open};

/// The kernel's FUSE asks for so much at most.
const LARGEST: u32 = 1 << 20;

/// One page of a directory: a few hundred entries with attributes, and far from every server's limit.
const DIRECTORY: u32 = 128 << 10;

/// Why an export cannot be mounted.
#[derive(Debug, Error)]
pub(crate) enum ConnectError {
    /// There is no way to the server, or it does not listen.
    #[error("cannot connect to {address}")]
    Unreachable {
        /// The mount service's address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The server says no.
    #[error(
        "the server refuses to mount {path}: {reason} (is it exported, to this node, and does the directory exist?)"
    )]
    Refused {
        /// What was asked for.
        path: String,
        /// The server's word.
        reason: String,
    },
    /// It was granted, and then not served.
    #[error("the server granted {path}, but does not serve it: error {code}")]
    NotServed {
        /// What was asked for.
        path: String,
        /// As in `errno`.
        code: i32,
    },
    /// A file was named.
    #[error("{path} is not a directory on the server")]
    NotADirectory {
        /// What was asked for.
        path: String,
    },
}

/// Asks the server for the directory.
///
/// # Errors
///
/// See [`ConnectError`]. It waits for a server that accepts connections and does not answer; bound it.
pub(crate) async fn connect(options: &Options) -> Result<(Nfs, Found), ConnectError> {
    let path = options.path();
    let handle = match handle_of(options, &path).await {
        // Some servers hand out exported directories only; below them one has to walk.
        Err(refused @ ConnectError::Refused { .. }) => match walk(options).await {
            Some(handle) => handle,
            None => return Err(refused),
        },
        other => other?,
    };
    let root = Credential::root();
    let mut nfs = without_limits(options);
    let not_served = |error: Errno| ConnectError::NotServed {
        path: path.clone(),
        code: error.code(),
    };
    let attributes = nfs.getattr(&root, &handle).await.map_err(not_served)?;
    if attributes.type_ != ftype3::NF3DIR {
        return Err(ConnectError::NotADirectory { path });
    }
    nfs.limits = nfs.fsinfo(&root, &handle).await.map_err(not_served)?;
    Ok((nfs, Found { handle, attributes }))
}

fn without_limits(options: &Options) -> Nfs {
    Nfs {
        pool: Arc::new(Pool::new(options.nfs_address())),
        limits: Limits {
            read: LARGEST,
            write: LARGEST,
            directory: DIRECTORY,
        },
    }
}

async fn handle_of(options: &Options, path: &str) -> Result<nfs_fh3, ConnectError> {
    let address = options.mount_address();
    let unreachable = |source| ConnectError::Unreachable { address, source };
    let mut stream = open(address).await.map_err(unreachable)?;
    let credential = Credential::root().sent();
    let mut client =
        MountClient::new_with_auth(Wire(&mut stream), credential, opaque_auth::default());
    let answer = client.mnt(dirpath(Opaque::borrowed(path.as_bytes()))).await;
    match answer {
        Ok(granted) => Ok(nfs_fh3 {
            data: granted.fhandle.0,
        }),
        Err(MountError::Rpc(nfs3_client::RpcError::Io(source))) => Err(unreachable(source)),
        Err(refusal) => Err(ConnectError::Refused {
            path: path.to_owned(),
            reason: refusal.to_string(),
        }),
    }
}

/// From the export's own directory to the one below it.
async fn walk(options: &Options) -> Option<nfs_fh3> {
    let directory = options.directory.as_deref()?;
    let mut handle = handle_of(options, &options.export).await.ok()?;
    let nfs = without_limits(options);
    let root = Credential::root();
    for name in directory.split('/').filter(|name| !name.is_empty()) {
        handle = nfs
            .lookup(&root, &handle, name.as_bytes())
            .await
            .ok()?
            .handle;
    }
    Some(handle)
}

impl Nfs {
    async fn fsinfo(&self, who: &Credential, root: &nfs_fh3) -> Result<Limits, Errno> {
        let arguments = FSINFO3args {
            fsroot: root.clone(),
        };
        let answer = self
            .pool
            .call::<_, FSINFO3resok, FSINFO3resfail>(who, NFS_PROGRAM::NFSPROC3_FSINFO, &arguments)
            .await?;
        let info = answer.or_errno()?;
        // Below a page the server would be of no use; a server that says nothing gets the least that all take.
        let bounded = |size: u32| size.clamp(4096, LARGEST);
        Ok(Limits {
            read: bounded(info.rtmax),
            write: bounded(info.wtmax),
            directory: DIRECTORY,
        })
    }
}
