//! The store that the daemon was told to use.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lote_cli::node_args::{EtcdSettings, EtcdTlsFiles, NodeSettings, StoreSettings};
use lote_control::config::Leadership;
use lote_model::id::NodeName;
use lote_model::problem::explain;
use lote_store::dump::is_half_imported;
use lote_store::{
    EmbeddedOptions, EmbeddedStore, EtcdIdentity, EtcdOptions, EtcdOptionsError, EtcdStore,
    EtcdTls, OpenError, Store, StoreError,
};

/// The pauses between two attempts to reach a store that is away.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);

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
}

/// Opens the store; etcd may still be away.
pub(crate) async fn open(settings: &NodeSettings) -> Result<Arc<dyn Store>, StoreStartError> {
    match &settings.store {
        StoreSettings::Embedded => {
            let options = EmbeddedOptions::default();
            Ok(Arc::new(EmbeddedStore::open(&settings.data_dir, &options)?))
        }
        StoreSettings::Etcd(etcd) => {
            if etcd.tls.is_none() {
                tracing::warn!(
                    "connections to etcd are not encrypted: whoever is on that network can read \
                     and change everything; give --etcd-ca, --etcd-cert and --etcd-key"
                );
            }
            let store = EtcdStore::open(&etcd_options(etcd)?).await?;
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
pub(super) fn leadership(settings: &NodeSettings, node: &NodeName) -> Leadership {
    match settings.store {
        StoreSettings::Embedded => Leadership::Sole,
        StoreSettings::Etcd(_) => Leadership::Elected { node: node.clone() },
    }
}

fn etcd_options(settings: &EtcdSettings) -> Result<EtcdOptions, StoreStartError> {
    Ok(EtcdOptions {
        endpoints: settings.endpoints.clone(),
        tls: settings.tls.as_ref().map(tls).transpose()?,
        prefix: settings
            .prefix
            .clone()
            .unwrap_or_else(|| EtcdOptions::PREFIX_DEFAULT.to_owned()),
    })
}

fn tls(files: &EtcdTlsFiles) -> Result<EtcdTls, StoreStartError> {
    let read = |option, path: &Path| {
        std::fs::read(path).map_err(|source| file_error(option, path, source))
    };
    let identity = match &files.identity {
        None => None,
        Some((certificate, key)) => Some(EtcdIdentity {
            certificate: read("etcd-cert", certificate)?,
            key: lote_vault::file::read(key)
                .map_err(|source| file_error("etcd-key", key, source))?
                .to_vec(),
        }),
    };
    Ok(EtcdTls {
        authority: read("etcd-ca", &files.authority)?,
        identity,
    })
}

fn file_error(option: &'static str, path: &Path, source: std::io::Error) -> StoreStartError {
    StoreStartError::File {
        option,
        path: path.to_owned(),
        source,
    }
}
