//! What this daemon shows other daemons, and whom it believes.

use std::sync::{Arc, PoisonError, RwLock};

use lote_model::id::NodeName;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SignatureScheme};

/// This daemon's certificate with its key, and the cluster's authority; clones are
/// the same, also after a renewal.
#[derive(Clone, Debug)]
pub struct PeerCredentials {
    shown: Arc<Shown>,
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
}

/// Why a certificate cannot be used between daemons.
#[derive(Debug, thiserror::Error)]
pub enum PeerCredentialsError {
    /// No certificate could be read.
    #[error("there is no certificate in PEM form")]
    Certificate,
    /// No private key could be read.
    #[error("there is no private key in PEM form")]
    Key,
    /// They do not fit together, or are of a kind that is not known.
    #[error("the certificates between daemons cannot be used")]
    Unusable(#[from] rustls::Error),
    /// The authority cannot be believed.
    #[error("the cluster's certificate authority cannot be used")]
    Authority(#[from] rustls::server::VerifierBuilderError),
}

/// What is shown now; renewals replace it, and open connections keep theirs.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl Shown {
    fn now(&self) -> Arc<CertifiedKey> {
        // Nothing panics while it holds the lock.
        let shown = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&shown)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl PeerCredentials {
    /// Reads the authority's certificate, this daemon's certificate and its key, all PEM.
    pub fn from_pem(
        authority: &str,
        certificate: &str,
        key: &str,
    ) -> Result<Self, PeerCredentialsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let shown = Arc::new(Shown(RwLock::new(certified(certificate, key)?)));
        let mut roots = RootCertStore::empty();
        roots.add(certificate_of(authority)?)?;
        let roots = Arc::new(roots);
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(shown.clone());
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_cert_resolver(shown.clone());
        for alpn in [&mut server.alpn_protocols, &mut client.alpn_protocols] {
            *alpn = vec![b"http/1.1".to_vec()];
        }
        Ok(Self {
            shown,
            server: Arc::new(server),
            client: Arc::new(client),
        })
    }

    /// Shows another certificate from now on.
    pub fn renew(&self, certificate: &str, key: &str) -> Result<(), PeerCredentialsError> {
        let renewed = certified(certificate, key)?;
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }
}

fn certificate_of(pem: &str) -> Result<CertificateDer<'static>, PeerCredentialsError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| PeerCredentialsError::Certificate)
}

fn certified(certificate: &str, key: &str) -> Result<Arc<CertifiedKey>, PeerCredentialsError> {
    let chain = vec![certificate_of(certificate)?];
    let key =
        PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| PeerCredentialsError::Key)?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key)?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match()?;
    Ok(Arc::new(certified))
}

/// Whose certificate it is: its common name. None if that is no node's name.
pub(super) fn node_of(certificate: &CertificateDer<'_>) -> Option<NodeName> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let mut names = parsed.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?;
    if names.next().is_some() {
        return None;
    }
    NodeName::parse(name).ok()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use lote_vault::{Authority, AuthorityRecord, SealingKey};

    use super::*;

    fn authority() -> Authority {
        let key = SealingKey::new([7; 32]);
        let record = AuthorityRecord::make(&key, "a", "c", SystemTime::now()).unwrap();
        record.open(&key, "a").unwrap()
    }

    #[test]
    fn a_certificate_names_its_node() {
        let certified = authority()
            .certify("gpu1.lab", &["10.0.0.1".to_owned()], SystemTime::now())
            .unwrap();
        let certificate = certificate_of(&certified.certificate).unwrap();
        assert_eq!(node_of(&certificate).unwrap().as_str(), "gpu1.lab");
        let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        assert_eq!(node_of(stranger.cert.der()), None);
    }

    #[test]
    fn halves_that_do_not_fit_are_refused() {
        let authority = authority();
        let certify = || authority.certify("a", &[], SystemTime::now()).unwrap();
        let (one, other) = (certify(), certify());
        let of = |certificate: &str, key: &str| {
            PeerCredentials::from_pem(authority.certificate(), certificate, key)
        };
        let credentials = of(&one.certificate, &one.private_key).unwrap();
        assert!(of(&one.certificate, &other.private_key).is_err());
        assert!(of("", &one.private_key).is_err());
        assert!(of(&one.certificate, "").is_err());
        let before = credentials.shown.now();
        assert!(
            credentials
                .renew(&one.certificate, &other.private_key)
                .is_err()
        );
        assert!(Arc::ptr_eq(&before, &credentials.shown.now()));
        credentials
            .renew(&other.certificate, &other.private_key)
            .unwrap();
        assert_ne!(before.cert, credentials.shown.now().cert);
    }
}
