//! `lote node --join`: how this machine becomes a member, once; and what it keeps of
//! that in its data directory.
//!
//! * `cluster.key` — the cluster's key.
//! * `cluster.json` — which cluster, under what name, and how etcd is reached.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use lote_cli::args::GlobalArgs;
use lote_cli::join::{Invitation, JoinError};
use lote_cli::node_args::NodeSettings;
use lote_model::access::token::JoinToken;
use lote_model::key;
use lote_model::membership::{JoinGrant, Membership};
use lote_model::problem::Problem;
use lote_store::{EmbeddedOptions, EmbeddedStore, ListRequest, OpenError, Store, StoreError};
use lote_vault::key::FILE as KEY_FILE;
use lote_vault::{KeyError, SealingKey, adopt_sealing_key, file, find_sealing_key};

use super::machine;

/// The name of the file in the data directory.
const FILE: &str = "cluster.json";

/// Where the key of a data directory goes that was one machine's before.
const FORMER_KEY_FILE: &str = "cluster.key.before-join";

/// The variable with the token.
const VARIABLE: &str = "LOTE_JOIN_TOKEN";

/// This machine is no member and cannot become one.
#[derive(Debug, thiserror::Error)]
pub(super) enum MembershipError {
    #[error(
        "joining needs a token: make one with `lote token create --node` where you reach the \
         cluster, and give it in {VARIABLE} or with --join-token-file"
    )]
    NoToken,
    #[error("cannot use the token file {path}")]
    TokenFile { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error("this machine cannot be a node of many")]
    Name(#[from] Problem),
    #[error("{url} answered with a key that is none; is that daemon of another version?")]
    NoKey { url: String },
    #[error(
        "this machine is a member of cluster {member} already, and the token is for cluster \
         {other}: leave out --join, or join with another --data-dir"
    )]
    OtherCluster { member: String, other: String },
    #[error(
        "{directory} has the state of one machine, with jobs in it, which would be left behind: \
         join with another --data-dir, or delete the jobs first"
    )]
    HasJobs { directory: PathBuf },
    #[error(
        "{path} is there already, and may be the only copy of another cluster's key: move it away \
         to join"
    )]
    HasKey { path: PathBuf },
    #[error("cannot find out what is in the store of {directory}")]
    FormerStore {
        directory: PathBuf,
        source: StoreError,
    },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("cannot use {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path} is not what joining wrote; move it away and join again")]
    Unreadable {
        path: PathBuf,
        source: serde_json::Error,
    },
}

/// What this data directory has joined, now if that was asked for; none for a machine
/// that never has.
pub(super) async fn membership(
    settings: &NodeSettings,
    global: &GlobalArgs,
) -> Result<Option<Membership>, MembershipError> {
    let kept = read(&settings.data_dir)?;
    match (kept, &settings.join) {
        (kept, None) => Ok(kept),
        (None, Some(url)) => join(settings, global, url).await.map(Some),
        (Some(kept), Some(_)) => {
            // The file may be gone by now; that is no reason not to start.
            let token = token(settings, global).ok().flatten();
            check_same(&kept, token.as_deref())?;
            tracing::info!(
                cluster = kept.cluster_id,
                since = %kept.joined_at,
                "this machine is a member already; --join changes nothing"
            );
            Ok(Some(kept))
        }
    }
}

/// A token that is for another cluster is a slip; one that has expired is none.
fn check_same(kept: &Membership, token: Option<&str>) -> Result<(), MembershipError> {
    let wanted = token.and_then(JoinToken::parse);
    match wanted.and_then(|token| token.cluster_id) {
        Some(other) if other != kept.cluster_id => Err(MembershipError::OtherCluster {
            member: kept.cluster_id.clone(),
            other,
        }),
        _ => Ok(()),
    }
}

async fn join(
    settings: &NodeSettings,
    global: &GlobalArgs,
    url: &str,
) -> Result<Membership, MembershipError> {
    let token = token(settings, global)?.ok_or(MembershipError::NoToken)?;
    let invitation = Invitation::new(url, &token, global, settings.insecure_http)?;
    let name = machine::shared_name(settings, None)?;
    // Before the token is used.
    check_free(&settings.data_dir).await?;
    // Nothing else runs yet that this could keep waiting.
    let grant = invitation.ask(&name)?;
    keep(&settings.data_dir, &grant, url)
}

/// The token's text, wherever it was given; not in the line of a process if possible.
fn token(settings: &NodeSettings, global: &GlobalArgs) -> Result<Option<String>, MembershipError> {
    if let Some(path) = &settings.join_token_file {
        let content = file::read(path).map_err(|source| MembershipError::TokenFile {
            path: path.clone(),
            source,
        })?;
        return Ok(Some(String::from_utf8_lossy(&content).trim().to_owned()));
    }
    let variable = std::env::var(VARIABLE).ok();
    let given = variable.or_else(|| global.token.clone());
    Ok(given.filter(|text| !text.trim().is_empty()))
}

/// Refuses a data directory whose state would be lost.
async fn check_free(data_directory: &Path) -> Result<(), MembershipError> {
    if EmbeddedStore::is_in(data_directory) {
        let store = EmbeddedStore::open(data_directory, &EmbeddedOptions::default())?;
        let first = ListRequest {
            limit: Some(1),
            keys_only: true,
            ..ListRequest::prefix(key::JOBS)
        };
        let jobs = store.list(first).await;
        let directory = data_directory.to_owned();
        return match jobs {
            Ok(jobs) if jobs.items.is_empty() => Ok(()),
            Ok(_) => Err(MembershipError::HasJobs { directory }),
            Err(source) => Err(MembershipError::FormerStore { directory, source }),
        };
    }
    match find_sealing_key(data_directory)? {
        None => Ok(()),
        Some(_) => Err(MembershipError::HasKey {
            path: data_directory.join(KEY_FILE),
        }),
    }
}

/// Writes down what was granted, the key first: who has the membership has the key.
fn keep(
    data_directory: &Path,
    grant: &JoinGrant,
    url: &str,
) -> Result<Membership, MembershipError> {
    let key = grant.key().ok_or_else(|| MembershipError::NoKey {
        url: url.to_owned(),
    })?;
    let former = data_directory.join(FORMER_KEY_FILE);
    if let Some(own) = find_sealing_key(data_directory)?
        && !former.exists()
    {
        write(&former, own.expose())?;
    }
    adopt_sealing_key(data_directory, &SealingKey::new(key))?;
    let membership = grant.membership(Timestamp::now());
    let path = data_directory.join(FILE);
    let text = serde_json::to_vec_pretty(&membership);
    let text = text.map_err(|source| MembershipError::Unreadable {
        path: path.clone(),
        source,
    })?;
    write(&path, &text)?;
    tracing::info!(
        cluster = membership.cluster_id,
        node = %membership.name,
        "joined; from now on this data directory belongs to the cluster, and --join is not needed"
    );
    Ok(membership)
}

fn write(path: &Path, content: &[u8]) -> Result<(), MembershipError> {
    file::write(path, content).map_err(|source| MembershipError::File {
        path: path.to_owned(),
        source,
    })
}

fn read(data_directory: &Path) -> Result<Option<Membership>, MembershipError> {
    let path = data_directory.join(FILE);
    match file::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(MembershipError::File { path, source }),
        Ok(content) => match serde_json::from_slice(&content) {
            Ok(membership) => Ok(Some(membership)),
            Err(source) => Err(MembershipError::Unreadable { path, source }),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use lote_cli::node_args::NodeArgs;
    use lote_model::id::NodeName;
    use lote_model::membership::EtcdAccess;
    use lote_store::Transaction;
    use lote_vault::sealing_key;
    use tempfile::TempDir;

    use super::*;

    const CLUSTER: &str = "0123456789abcdef0123456789abcdef";

    fn folder() -> TempDir {
        tempfile::tempdir().unwrap()
    }

    fn grant() -> JoinGrant {
        JoinGrant {
            cluster_id: CLUSTER.into(),
            name: NodeName::new("gpu2"),
            cluster_key: JoinGrant::key_text(&[9; 32]),
            etcd: EtcdAccess {
                endpoints: vec!["https://10.0.0.1:2379".into()],
                authorities: None,
                certificate: None,
                private_key: Some("PRIVATE".into()),
                bring_certificate: false,
                prefix: None,
            },
        }
    }

    fn settings(folder: &TempDir, token: Option<&str>) -> NodeSettings {
        let file = token.map(|token| {
            let path = folder.path().join("token");
            file::write(&path, token.as_bytes()).unwrap();
            path
        });
        let args = NodeArgs {
            data_dir: Some(folder.path().to_owned()),
            join: Some("https://10.0.0.1:8471".into()),
            join_token_file: file,
            name: Some("gpu2".into()),
            ..NodeArgs::default()
        };
        args.resolve(None).unwrap()
    }

    fn token_of(cluster: &str) -> String {
        format!("lotejoin_0000000000000005_secret.{cluster}\n")
    }

    #[test]
    fn what_was_granted_stays_and_is_nobody_elses_to_read() {
        let folder = folder();
        assert!(read(folder.path()).unwrap().is_none());
        let kept = keep(folder.path(), &grant(), "u").unwrap();
        assert_eq!(read(folder.path()).unwrap().unwrap(), kept);
        let key = find_sealing_key(folder.path()).unwrap().unwrap();
        assert_eq!(key.expose(), &[9; 32]);
        for name in [FILE, KEY_FILE] {
            let path = folder.path().join(name);
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert!(!folder.path().join(FORMER_KEY_FILE).exists());
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        let error = read(folder.path()).unwrap_err();
        assert!(
            matches!(error, MembershipError::Unreadable { .. }),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_member_stays_one_whatever_the_token_has_become() {
        let folder = folder();
        keep(folder.path(), &grant(), "u").unwrap();
        let open = async |token: Option<&str>| {
            membership(&settings(&folder, token), &GlobalArgs::default()).await
        };
        for token in [None, Some("no token"), Some(&*token_of(CLUSTER))] {
            assert_eq!(open(token).await.unwrap().unwrap().cluster_id, CLUSTER);
        }
        let mut gone = settings(&folder, None);
        gone.join_token_file = Some("/nonexistent".into());
        let still = membership(&gone, &GlobalArgs::default()).await.unwrap();
        assert_eq!(still.unwrap().cluster_id, CLUSTER);
        let other = "f".repeat(32);
        let error = open(Some(&token_of(&other))).await.unwrap_err();
        assert!(
            error.to_string().contains(CLUSTER) && error.to_string().contains(&other),
            "{error}"
        );
    }

    #[tokio::test]
    async fn what_would_be_left_behind_is_not() {
        let alone = folder();
        sealing_key(alone.path()).unwrap();
        let error = check_free(alone.path()).await.unwrap_err();
        assert!(matches!(error, MembershipError::HasKey { .. }), "{error}");

        let options = EmbeddedOptions::default();
        let store = EmbeddedStore::open(alone.path(), &options).unwrap();
        let locked = check_free(alone.path()).await.unwrap_err();
        assert!(matches!(locked, MembershipError::Open(_)), "{locked}");
        drop(store);
        check_free(alone.path()).await.unwrap();
        let former = sealing_key(alone.path()).unwrap();
        keep(alone.path(), &grant(), "u").unwrap();
        let saved = std::fs::read(alone.path().join(FORMER_KEY_FILE)).unwrap();
        assert_eq!(saved, former.expose());

        let store = EmbeddedStore::open(alone.path(), &options).unwrap();
        let job = Transaction::new().put("jobs/a/b/c/d", "{}");
        store.commit(job).await.unwrap();
        drop(store);
        let error = check_free(alone.path()).await.unwrap_err();
        assert!(matches!(error, MembershipError::HasJobs { .. }), "{error}");
    }

    #[tokio::test]
    async fn nothing_is_asked_without_a_token() {
        let folder = folder();
        let error = membership(&settings(&folder, Some(" \n")), &GlobalArgs::default()).await;
        let error = error.unwrap_err();
        assert!(
            matches!(error, MembershipError::Join(JoinError::Token)),
            "{error}"
        );
        let path = folder.path().join("token");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let open = settings(&folder, None);
        let open = NodeSettings {
            join_token_file: Some(path),
            ..open
        };
        let error = membership(&open, &GlobalArgs::default()).await.unwrap_err();
        assert!(
            matches!(error, MembershipError::TokenFile { .. }),
            "{error}"
        );
        let none = membership(&settings(&folder, None), &GlobalArgs::default()).await;
        assert!(matches!(none, Err(MembershipError::NoToken)));
    }
}
