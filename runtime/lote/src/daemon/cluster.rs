//! The cluster that daemons are who share a store: its identity and its certificate
//! authority there, and its key here.
//!
//! The first daemon makes them. Two may start at once: one transaction decides, and
//! the other daemon is then a machine that has yet to join.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use lote_model::key;
use lote_model::membership::{ClusterIdentity, Membership};
use lote_store::{Store, StoreError, Transaction, get_json};
use lote_vault::key::FILE;
use lote_vault::{
    Authority, AuthorityError, AuthorityRecord, KeyError, SealingKey, find_sealing_key, sealing_key,
};

/// What the key is derived for that signs links and operation ids.
const LINKS: &str = "links";

/// This daemon's cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    /// Which one it is.
    pub(super) identity: ClusterIdentity,
    /// Its key.
    pub(super) key: SealingKey,
    /// Its certificate authority.
    pub(super) authority: Authority,
}

/// This data directory is none of the store's cluster.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClusterError {
    #[error(
        "this machine is not a member of cluster {id}, whose state is in this etcd: {directory} has \
         no {FILE}. Let it join with a token (run `lote token create --node` where you reach the \
         cluster), or copy {FILE} from the data directory of a member, mode 600"
    )]
    NoKey { id: String, directory: PathBuf },
    #[error(
        "the {FILE} in {directory} is not the key of cluster {id}, whose state is in this etcd (its \
         fingerprint is {found}, the cluster's is {expected}). Move the file away and let the \
         machine join with a token (run `lote token create --node` where you reach the cluster), or \
         copy {FILE} from the data directory of a member, mode 600"
    )]
    OtherKey {
        id: String,
        directory: PathBuf,
        found: String,
        expected: String,
    },
    #[error(
        "this machine joined cluster {joined}, but this etcd has {found}: check --etcd and \
         --etcd-prefix; if etcd was lost, restore it from a backup"
    )]
    OtherCluster { joined: String, found: String },
    #[error(
        "the state of cluster {0} in etcd is not whole: its certificate authority is missing; \
         restore etcd from a backup"
    )]
    Incomplete(String),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("cannot remove {path}, a key that is of no use")]
    UselessKey {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot find out which cluster the store belongs to")]
    Store(#[from] StoreError),
}

impl Cluster {
    /// Finds the cluster of the store, or makes it if the store is new and this machine
    /// has not joined another one. Fails unless the key in the data directory is its key.
    pub(super) async fn open(
        store: &dyn Store,
        data_directory: &Path,
        membership: Option<&Membership>,
        now: Timestamp,
    ) -> Result<Self, ClusterError> {
        let found = match read(store).await? {
            Some(found) => Some(found),
            None if membership.is_some() => None,
            None => Some(make(store, data_directory, now).await?),
        };
        let joined = membership.map(|membership| &membership.cluster_id);
        let (identity, authority) = match (found, joined) {
            (Some(found), Some(joined)) if found.0.id != *joined => {
                return Err(ClusterError::OtherCluster {
                    joined: joined.clone(),
                    found: format!("the state of cluster {}", found.0.id),
                });
            }
            (Some(found), _) => found,
            (None, joined) => {
                return Err(ClusterError::OtherCluster {
                    joined: joined.cloned().unwrap_or_default(),
                    found: "no state of a cluster".to_owned(),
                });
            }
        };
        let key = own_key(data_directory, &identity)?;
        Ok(Self {
            authority: authority.open(&key, key::CLUSTER_AUTHORITY)?,
            identity,
            key,
        })
    }

    /// The key that signs links and operation ids, the same on all daemons.
    pub(super) fn link_key(&self) -> [u8; 32] {
        self.key.derive(LINKS)
    }
}

type Found = (ClusterIdentity, AuthorityRecord);

/// What the store has; none if it is new.
async fn read(store: &dyn Store) -> Result<Option<Found>, ClusterError> {
    let identity = get_json::<ClusterIdentity>(store, key::CLUSTER_IDENTITY).await?;
    let Some(identity) = identity else {
        return Ok(None);
    };
    let authority = get_json::<AuthorityRecord>(store, key::CLUSTER_AUTHORITY).await?;
    match authority {
        Some(authority) => Ok(Some((identity.value, authority.value))),
        None => Err(ClusterError::Incomplete(identity.value.id)),
    }
}

/// Makes a cluster, or finds the one that another daemon has made meanwhile. The key
/// is on disk before the store names it: nobody could open the cluster without it.
async fn make(
    store: &dyn Store,
    data_directory: &Path,
    now: Timestamp,
) -> Result<Found, ClusterError> {
    let had_key = find_sealing_key(data_directory)?.is_some();
    let key = sealing_key(data_directory)?;
    let identity = ClusterIdentity {
        id: uuid::Uuid::new_v4().simple().to_string(),
        key_fingerprint: key.fingerprint(),
        created_at: now,
    };
    let place = key::CLUSTER_AUTHORITY;
    let authority = AuthorityRecord::make(&key, place, &identity.id, SystemTime::from(now))?;
    let transaction = Transaction::new()
        .require_absent(key::CLUSTER_IDENTITY)
        .require_absent(place)
        .put_json(key::CLUSTER_IDENTITY, &identity)?
        .put_json(place, &authority)?;
    if store.commit(transaction).await?.is_applied() {
        tracing::info!(
            cluster = identity.id,
            "the first daemon on this etcd: made a cluster; keep a copy of {FILE}"
        );
        return Ok((identity, authority));
    }
    if !had_key {
        let path = data_directory.join(FILE);
        std::fs::remove_file(&path).map_err(|source| ClusterError::UselessKey { path, source })?;
    }
    let found = read(store).await?;
    found.ok_or_else(|| ClusterError::Incomplete(identity.id))
}

/// The key in the data directory, if it is the cluster's.
fn own_key(data_directory: &Path, identity: &ClusterIdentity) -> Result<SealingKey, ClusterError> {
    let (id, directory) = (identity.id.clone(), data_directory.to_owned());
    let Some(key) = find_sealing_key(data_directory)? else {
        return Err(ClusterError::NoKey { id, directory });
    };
    let found = key.fingerprint();
    if found != identity.key_fingerprint {
        return Err(ClusterError::OtherKey {
            id,
            directory,
            found,
            expected: identity.key_fingerprint.clone(),
        });
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use lote_model::id::NodeName;
    use lote_model::membership::EtcdAccess;
    use lote_store::{EmbeddedOptions, EmbeddedStore};
    use lote_vault::adopt_sealing_key;
    use tempfile::TempDir;

    use super::*;

    fn folder() -> TempDir {
        tempfile::tempdir().unwrap()
    }

    fn store(folder: &TempDir) -> EmbeddedStore {
        EmbeddedStore::open(folder.path(), &EmbeddedOptions::default()).unwrap()
    }

    async fn open(store: &dyn Store, folder: &TempDir) -> Result<Cluster, ClusterError> {
        Cluster::open(store, folder.path(), None, Timestamp::now()).await
    }

    fn joined(cluster: &str) -> Membership {
        let etcd = EtcdAccess {
            endpoints: Vec::new(),
            authorities: None,
            certificate: None,
            private_key: None,
            bring_certificate: false,
            prefix: None,
        };
        Membership {
            cluster_id: cluster.to_owned(),
            name: NodeName::new("a"),
            etcd,
            joined_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[tokio::test]
    async fn the_first_makes_the_cluster_and_the_next_need_its_key() {
        let (shared, first, second) = (folder(), folder(), folder());
        let store = store(&shared);
        let made = open(&store, &first).await.unwrap();
        assert!(lote_model::membership::is_cluster_id(&made.identity.id));
        let again = open(&store, &first).await.unwrap();
        assert_eq!(again.identity, made.identity);
        assert_eq!(again.authority.certificate(), made.authority.certificate());

        let error = open(&store, &second).await.unwrap_err();
        assert!(matches!(error, ClusterError::NoKey { .. }), "{error}");
        assert!(
            error.to_string().contains("lote token create --node"),
            "{error}"
        );
        assert!(!second.path().join(FILE).exists());

        adopt_sealing_key(second.path(), &SealingKey::new([1; 32])).unwrap();
        let error = open(&store, &second).await.unwrap_err();
        assert!(matches!(error, ClusterError::OtherKey { .. }), "{error}");

        adopt_sealing_key(second.path(), &made.key).unwrap();
        let member = open(&store, &second).await.unwrap();
        assert_eq!(member.link_key(), made.link_key());
    }

    #[tokio::test]
    async fn of_many_that_start_at_once_one_makes_the_cluster() {
        let shared = folder();
        let store = store(&shared);
        let folders: Vec<TempDir> = (0..8).map(|_| folder()).collect();
        let starts = folders.iter().map(|folder| open(&store, folder));
        let mut members = 0;
        for (folder, opened) in folders.iter().zip(join_all(starts).await) {
            match opened {
                Ok(_) => members += 1,
                Err(ClusterError::NoKey { .. }) => {
                    assert!(!folder.path().join(FILE).exists());
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(members, 1);
    }

    #[tokio::test]
    async fn a_machine_that_joined_makes_no_cluster_and_enters_no_other() {
        let (shared, own) = (folder(), folder());
        let store = store(&shared);
        let open = |id: &'static str| {
            let membership = joined(id);
            let (store, own) = (&store, &own);
            async move { Cluster::open(store, own.path(), Some(&membership), Timestamp::now()).await }
        };
        let error = open("c1").await.unwrap_err();
        assert!(error.to_string().contains("backup"), "{error}");
        assert!(store.get(key::CLUSTER_IDENTITY).await.unwrap().is_none());
        let made = Cluster::open(&store, own.path(), None, Timestamp::now()).await;
        let made = made.unwrap();
        let error = open("c1").await.unwrap_err();
        assert!(error.to_string().contains(&made.identity.id), "{error}");
    }

    #[tokio::test]
    async fn a_state_without_an_authority_is_not_mended() {
        let (shared, own) = (folder(), folder());
        let store = store(&shared);
        open(&store, &own).await.unwrap();
        let gone = Transaction::new().delete(key::CLUSTER_AUTHORITY);
        store.commit(gone).await.unwrap();
        let error = open(&store, &own).await.unwrap_err();
        assert!(matches!(error, ClusterError::Incomplete(_)), "{error}");
    }
}
