//! The store that the daemon was told to use.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lote_cli::node_args::{EtcdSettings, EtcdTlsFiles, NodeSettings, StoreSettings};
use lote_control::config::Leadership;
use lote_model::id::NodeName;
use lote_model::membership::{EtcdAccess, Membership};
use lote_model::problem::explain;
use lote_store::dump::is_half_imported;
use lote_store::{
    EmbeddedOptions, EmbeddedStore, EtcdIdentity, EtcdOptions, EtcdOptionsError, EtcdStore,
    EtcdTls, OpenError, Store, StoreError,
};

/// The pauses between two attempts to reach a store that is away.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Where the state is kept, with all that is needed to reach it.
#[derive(Debug)]
pub(super) enum Place {
    /// A file of this daemon: it is alone.
    Embedded,
    /// An etcd that daemons share.
    Etcd(EtcdAccess),
}

/// There is no store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreStartError {
    #[error(transparent)]
    Embedded(#[from] OpenError),
    #[error(transparent)]
    Etcd(#[from] EtcdOptionsError),
    #[error("cannot read {path}, which --{option} names")]
    File {
        option: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the store holds half an import: run `lote import` again, with the same options")]
    HalfImported,
    #[error("the store does not answer any more")]
    Silent(#[from] StoreError),
    #[error("{path}, which --{option} names, is not in PEM form")]
    NotPem { option: &'static str, path: PathBuf },
    #[error(
        "this data directory belongs to cluster {0}, whose state is in etcd: leave out --store, or \
         give another --data-dir"
    )]
    Joined(String),
    #[error("the certificates for etcd need --store etcd, or a cluster that was joined")]
    Unused,
    #[error(
        "etcd wants a certificate of this machine's own, since the cluster hands out none: give \
         --etcd-ca, --etcd-cert and --etcd-key"
    )]
    BringCertificate,
    #[error(
        "--peer-listen is for machines that share a store: give --store etcd, or join a cluster"
    )]
    NoPeers,
    #[error(
        "--power and the options with it are for machines that share a store: nobody could switch \
         this one on again; leave them out, give --store etcd, or join a cluster"
    )]
    NoPower,
}

/// Puts together what the options say and what the data directory has joined.
pub(super) fn place(
    settings: &NodeSettings,
    membership: Option<&Membership>,
) -> Result<Place, StoreStartError> {
    let place = match (&settings.store, membership) {
        (StoreSettings::Etcd(etcd), _) => Place::Etcd(given(etcd)?),
        (StoreSettings::Embedded, Some(membership)) => {
            return Err(StoreStartError::Joined(membership.cluster_id.clone()));
        }
        (StoreSettings::Found { tls }, Some(membership)) => {
            Place::Etcd(joined(&membership.etcd, tls.as_ref())?)
        }
        (StoreSettings::Found { tls: Some(_) }, None) => return Err(StoreStartError::Unused),
        (StoreSettings::Found { tls: None } | StoreSettings::Embedded, None) => Place::Embedded,
    };
    match place {
        Place::Embedded if settings.peer_listen.is_some() => Err(StoreStartError::NoPeers),
        Place::Embedded if settings.power.is_some() => Err(StoreStartError::NoPower),
        place => Ok(place),
    }
}

/// Opens the store; etcd may still be away.
pub(super) async fn open(
    place: &Place,
    data_directory: &Path,
) -> Result<Arc<dyn Store>, StoreStartError> {
    match place {
        Place::Embedded => {
            let options = EmbeddedOptions::default();
            Ok(Arc::new(EmbeddedStore::open(data_directory, &options)?))
        }
        Place::Etcd(access) => {
            if access.authorities.is_none() {
                tracing::warn!(
                    "connections to etcd are not encrypted: whoever is on that network can read \
                     and change everything; give --etcd-ca, --etcd-cert and --etcd-key"
                );
            }
            let store = EtcdStore::open(&etcd_options(access)).await?;
            Ok(Arc::new(store))
        }
    }
}

/// Returns when the store answers. Says so while it does not.
pub(super) async fn wait_until_ready(store: &dyn Store) {
    let mut pause = PAUSE_FIRST;
    let mut waited = false;
    while let Err(error) = store.revision().await {
        tracing::warn!(
            "waiting for the store before anything else; running jobs go on: {}",
            explain(&error)
        );
        waited = true;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    if waited {
        tracing::info!("the store answers");
    }
}

/// A daemon must not work with half a state.
pub(super) async fn refuse_half_import(store: &dyn Store) -> Result<(), StoreStartError> {
    if is_half_imported(store).await? {
        return Err(StoreStartError::HalfImported);
    }
    Ok(())
}

/// Whether others can lead.
pub(super) fn leadership(place: &Place, node: &NodeName) -> Leadership {
    match place {
        Place::Embedded => Leadership::Sole,
        Place::Etcd(_) => Leadership::Elected { node: node.clone() },
    }
}

fn etcd_options(access: &EtcdAccess) -> EtcdOptions {
    let bytes = |text: &String| text.as_bytes().to_vec();
    let identity = access.certificate.as_ref().zip(access.private_key.as_ref());
    let identity = identity.map(|(certificate, key)| EtcdIdentity {
        certificate: bytes(certificate),
        key: bytes(key),
    });
    EtcdOptions {
        endpoints: access.endpoints.clone(),
        tls: access.authorities.as_ref().map(|authority| EtcdTls {
            authority: bytes(authority),
            identity,
        }),
        prefix: access
            .prefix
            .clone()
            .unwrap_or_else(|| EtcdOptions::PREFIX_DEFAULT.to_owned()),
    }
}

/// What the options say.
fn given(settings: &EtcdSettings) -> Result<EtcdAccess, StoreStartError> {
    let mut access = EtcdAccess {
        endpoints: settings.endpoints.clone(),
        authorities: None,
        certificate: None,
        private_key: None,
        bring_certificate: false,
        prefix: settings.prefix.clone(),
    };
    if let Some(files) = &settings.tls {
        take_certificates(&mut access, files)?;
    }
    Ok(access)
}

/// What came with joining, with this machine's own certificates if there are any.
fn joined(access: &EtcdAccess, own: Option<&EtcdTlsFiles>) -> Result<EtcdAccess, StoreStartError> {
    let mut access = access.clone();
    if let Some(files) = own {
        take_certificates(&mut access, files)?;
    }
    if access.lacks_certificate() {
        return Err(StoreStartError::BringCertificate);
    }
    Ok(access)
}

fn take_certificates(access: &mut EtcdAccess, files: &EtcdTlsFiles) -> Result<(), StoreStartError> {
    let read = |option, path: &Path| {
        let content = std::fs::read(path);
        text(
            option,
            path,
            content.map_err(|source| file_error(option, path, source))?,
        )
    };
    access.authorities = Some(read("etcd-ca", &files.authority)?);
    let Some((certificate, key)) = &files.identity else {
        return Ok(());
    };
    access.certificate = Some(read("etcd-cert", certificate)?);
    let secret = lote_vault::file::read(key);
    let secret = secret.map_err(|source| file_error("etcd-key", key, source))?;
    access.private_key = Some(text("etcd-key", key, secret.to_vec())?);
    Ok(())
}

/// PEM is text.
fn text(option: &'static str, path: &Path, content: Vec<u8>) -> Result<String, StoreStartError> {
    String::from_utf8(content).map_err(|_| StoreStartError::NotPem {
        option,
        path: path.to_owned(),
    })
}

fn file_error(option: &'static str, path: &Path, source: std::io::Error) -> StoreStartError {
    StoreStartError::File {
        option,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use lote_cli::node_args::NodeArgs;

    use super::*;

    fn settings(text: &str) -> NodeSettings {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("node.toml");
        std::fs::write(&config, text).unwrap();
        let args = NodeArgs {
            config: Some(config),
            ..NodeArgs::default()
        };
        args.resolve(Some("/d".into())).unwrap()
    }

    fn membership(certificate: Option<&str>) -> Membership {
        let text = |text: &str| Some(text.to_owned());
        let etcd = EtcdAccess {
            endpoints: vec!["https://e1:2379".into()],
            authorities: text("CA"),
            certificate: certificate.map(str::to_owned),
            private_key: certificate.and(text("KEY")),
            bring_certificate: certificate.is_none(),
            prefix: text("/other/"),
        };
        Membership {
            cluster_id: "c1".into(),
            name: NodeName::new("a"),
            etcd,
            joined_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn access(place: Result<Place, StoreStartError>) -> EtcdAccess {
        match place.unwrap() {
            Place::Etcd(access) => access,
            Place::Embedded => panic!("not etcd"),
        }
    }

    #[test]
    fn without_options_the_data_directory_says_where_the_state_is() {
        let nothing = settings("");
        assert!(matches!(place(&nothing, None), Ok(Place::Embedded)));
        let joined = membership(Some("CERTIFICATE"));
        let found = access(place(&nothing, Some(&joined)));
        assert_eq!(found, joined.etcd);
        let options = etcd_options(&found);
        assert_eq!(options.prefix, "/other/");
        let identity = options.tls.unwrap().identity.unwrap();
        assert_eq!(identity.certificate, b"CERTIFICATE");
        assert_eq!(identity.key, b"KEY");
    }

    #[test]
    fn options_win_and_may_not_contradict() {
        let joined = membership(Some("CERTIFICATE"));
        let other = settings("store = 'etcd'\netcd = ['http://e9']");
        assert_eq!(
            access(place(&other, Some(&joined))).endpoints,
            ["http://e9"]
        );
        let embedded = settings("store = 'embedded'");
        let error = place(&embedded, Some(&joined)).unwrap_err();
        assert!(error.to_string().contains("c1"), "{error}");
        let alone = settings("peer-listen = '127.0.0.1:1'");
        assert!(matches!(place(&alone, None), Err(StoreStartError::NoPeers)));
        assert!(place(&alone, Some(&joined)).is_ok());
    }

    #[test]
    fn a_machine_that_is_alone_is_not_switched_off() {
        let settings = settings("[power]\ndriver = 'wake-on-lan'");
        assert!(matches!(
            place(&settings, None),
            Err(StoreStartError::NoPower)
        ));
        assert!(place(&settings, Some(&membership(Some("c")))).is_ok());
    }

    #[test]
    fn a_machine_brings_the_certificate_that_the_cluster_keeps() {
        let joined = membership(None);
        let error = place(&settings(""), Some(&joined)).unwrap_err();
        assert!(error.to_string().contains("--etcd-cert"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = folder.path().join(name);
            lote_vault::file::write(&path, name.as_bytes()).unwrap();
            path.display().to_string()
        };
        let own = format!(
            "etcd-ca = '{}'\netcd-cert = '{}'\netcd-key = '{}'",
            file("ca"),
            file("cert"),
            file("key")
        );
        let found = access(place(&settings(&own), Some(&joined)));
        assert_eq!(found.certificate.as_deref(), Some("cert"));
        assert_eq!(found.private_key.as_deref(), Some("key"));
        assert_eq!(found.endpoints, ["https://e1:2379"]);
        let unused = place(&settings(&own), None);
        assert!(matches!(unused, Err(StoreStartError::Unused)));
    }
}
