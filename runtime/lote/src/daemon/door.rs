//! Who may reach the daemon: tokens of the operator's file, the addresses it may
//! listen on, and the log of who did what.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use lote_api::state::ApiConfig;
use lote_api::{AuditLog, OperatorTokens, OperatorTokensError, Rotation};
use lote_cli::node_args::NodeSettings;
use lote_model::key;
use lote_store::{Store, StoreError};
use lote_vault::file;

/// The daemon may not be reached that way.
#[derive(Debug, thiserror::Error)]
pub(super) enum DoorError {
    #[error(
        "refusing to listen on {0}: without a token the API must stay on loopback (127.0.0.1 or \
         ::1). Make the first token there with `lote token create --role admin`, or give \
         --token-file"
    )]
    NotLoopback(SocketAddr),
    #[error(
        "refusing to listen on {0} without encryption: tokens would travel readably. Give --tls, or \
         --tls-cert and --tls-key; --insecure-http says that the network is safe, or that a proxy \
         in front encrypts"
    )]
    PlainHttp(SocketAddr),
    #[error("cannot use the token file {path}")]
    TokenFile {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the token file {path} is wrong")]
    Tokens {
        path: PathBuf,
        source: OperatorTokensError,
    },
    #[error("cannot open the audit log {path}")]
    AuditLog {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot find out whether there are tokens")]
    Store(#[from] StoreError),
}

/// The administrators of the operator's file; none without a file.
pub(super) fn operator_tokens(file: Option<&Path>) -> Result<OperatorTokens, DoorError> {
    let Some(path) = file else {
        return Ok(OperatorTokens::default());
    };
    let content = file::read(path).map_err(|source| DoorError::TokenFile {
        path: path.to_owned(),
        source,
    })?;
    OperatorTokens::parse(&String::from_utf8_lossy(&content)).map_err(|source| DoorError::Tokens {
        path: path.to_owned(),
        source,
    })
}

/// `audit.log` in the data directory.
pub(super) fn audit_log(data_directory: &Path) -> Result<AuditLog, DoorError> {
    let path = data_directory.join("audit.log");
    AuditLog::open(&path, Rotation::default())
        .map_err(|source| DoorError::AuditLog { path, source })
}

/// Refuses what would be unsafe. Says whether requests need a token.
pub(super) async fn check(
    settings: &NodeSettings,
    store: &dyn Store,
    api: &ApiConfig,
) -> Result<bool, DoorError> {
    let closed = !api.operator_tokens.is_empty() || store.get(key::DOOR).await?.is_some();
    let encrypted = api.tls.is_some() || settings.insecure_http;
    may_listen(settings.listen, closed, encrypted)?;
    Ok(closed)
}

fn may_listen(address: SocketAddr, closed: bool, encrypted: bool) -> Result<(), DoorError> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    match (closed, encrypted) {
        (false, _) => Err(DoorError::NotLoopback(address)),
        (true, false) => Err(DoorError::PlainHttp(address)),
        (true, true) => Ok(()),
    }
}

/// Says who may enter (design §1.5).
pub(super) fn announce(closed: bool) {
    if closed {
        tracing::info!("requests need a token");
    } else {
        tracing::warn!(
            "there is no token yet: everybody on this machine may do everything; close the door \
             with `lote token create --role admin`"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_is_let_in_with_tokens_and_encryption_only() {
        let anywhere: SocketAddr = "0.0.0.0:8471".parse().unwrap();
        let local: SocketAddr = "127.0.0.1:8471".parse().unwrap();
        for closed in [false, true] {
            for encrypted in [false, true] {
                assert!(may_listen(local, closed, encrypted).is_ok());
                let allowed = may_listen(anywhere, closed, encrypted).is_ok();
                assert_eq!(allowed, closed && encrypted);
            }
        }
        let error = may_listen(anywhere, true, false).unwrap_err();
        assert!(error.to_string().contains("--insecure-http"), "{error}");
    }

    #[test]
    fn no_file_is_no_token() {
        assert!(operator_tokens(None).unwrap().is_empty());
        let missing = operator_tokens(Some(Path::new("/nonexistent"))).unwrap_err();
        assert!(matches!(missing, DoorError::TokenFile { .. }), "{missing}");
    }
}
