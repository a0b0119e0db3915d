//! Who a call is made for.

use nfs3_types::rpc::{auth_unix, opaque_auth};
use nfs3_types::xdr_codec::Opaque;

/// As many groups as the protocol has room for.
const GROUPS: usize = 16;

/// A user, ready to be sent.
#[derive(Debug)]
pub(crate) struct Credential {
    sent: opaque_auth<'static>,
    numbers: (u32, u32, Vec<u32>),
}

impl Credential {
    /// A user with his groups. Of more than sixteen others the rest is left out, as every NFS client does.
    pub(crate) fn new(uid: u32, gid: u32, mut groups: Vec<u32>) -> Self {
        groups.retain(|group| *group != gid);
        groups.truncate(GROUPS);
        let sent = opaque_auth::auth_unix(&auth_unix {
            stamp: 0,
            machinename: Opaque::borrowed(b"lote"),
            uid,
            gid,
            gids: groups.clone(),
        });
        Self {
            sent,
            numbers: (uid, gid, groups),
        }
    }

    /// For what the mount does by itself; the server makes nobody of it.
    pub(crate) fn root() -> Self {
        Self::new(0, 0, Vec::new())
    }

    pub(crate) fn sent(&self) -> opaque_auth<'static> {
        self.sent.clone()
    }
}

impl PartialEq for Credential {
    fn eq(&self, other: &Self) -> bool {
        self.numbers == other.numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_sixteen_other_groups_are_sent() {
        let credential = Credential::new(1000, 100, (90..120).collect());
        let (_, _, groups) = &credential.numbers;
        assert_eq!(groups.len(), 16);
        assert!(!groups.contains(&100));
        assert_eq!(credential, Credential::new(1000, 100, (90..110).collect()));
        assert_ne!(credential, Credential::root());
    }
}
