//! Encrypted connections to a daemon.
//!
//! * [`Trust`] — whose certificates are believed.
//! * [`verifier`] — the check of the daemon's certificate.
//! * [`connector`] — how ureq gets an encrypted connection.
//!
//! ureq's own way to TLS cannot pin a certificate, so the connection is made
//! here, with the same library.

pub mod connector;
pub mod verifier;

use std::path::PathBuf;
use std::sync::Arc;

use lote_model::access::fingerprint::Fingerprint;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Whose certificates are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those of the authorities that this machine trusts.
    #[default]
    System,
    /// Those of the authorities in a file, and of no others.
    Authorities(PathBuf),
    /// One certificate, whatever names it has and whoever signed it.
    Pinned(Fingerprint),
}

/// Why no encrypted connection can be tried.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("cannot read the file of authorities '{}'", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file has no certificate.
    #[error("there is no certificate in PEM form in '{}'", .0.display())]
    Empty(PathBuf),
    /// This machine trusts nobody.
    #[error(
        "this machine has no certificates of authorities; install ca-certificates, or give \
         --ca-file or --fingerprint"
    )]
    NoSystemRoots,
    /// The certificates cannot be used.
    #[error("the certificates of the authorities cannot be used")]
    Unusable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// How to encrypt connections, and whom to believe.
pub fn client_config(trust: &Trust) -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = match trust {
        Trust::Pinned(fingerprint) => verifier::Verifier::pinned(*fingerprint, &provider),
        Trust::System => verifier::Verifier::signed(chain_of_trust(system_roots()?, &provider)?),
        Trust::Authorities(path) => {
            verifier::Verifier::signed(chain_of_trust(roots_of(path)?, &provider)?)
        }
    };
    let unusable = |error: rustls::Error| TrustError::Unusable(Box::new(error));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn chain_of_trust(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TrustError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| TrustError::Unusable(Box::new(error)))
}

fn system_roots() -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    // Some systems have certificates that no library can read; the others count.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(TrustError::NoSystemRoots);
    }
    Ok(roots)
}

fn roots_of(path: &PathBuf) -> Result<RootCertStore, TrustError> {
    let read = std::fs::read(path);
    let bytes = read.map_err(|source| TrustError::Read {
        path: path.clone(),
        source,
    })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|error| TrustError::Unusable(Box::new(error)))?;
        let added = roots.add(certificate);
        added.map_err(|error| TrustError::Unusable(Box::new(error)))?;
    }
    if roots.is_empty() {
        return Err(TrustError::Empty(path.clone()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_without_certificates_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let config = |path: &PathBuf| client_config(&Trust::Authorities(path.clone()));
        assert!(matches!(config(&path), Err(TrustError::Read { .. })));
        std::fs::write(&path, "nothing").unwrap();
        assert!(matches!(config(&path), Err(TrustError::Empty(_))));
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&path, junk).unwrap();
        assert!(matches!(config(&path), Err(TrustError::Unusable(_))));
    }
}
