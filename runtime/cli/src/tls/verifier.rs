//! The check of the daemon's certificate.

use std::sync::Arc;

use lote_model::access::fingerprint::Fingerprint;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, OtherError, SignatureScheme};
use sha2::{Digest, Sha256};

/// Believes a certificate by its fingerprint or by who signed it.
#[derive(Debug)]
pub struct Verifier(Rule);

#[derive(Debug)]
enum Rule {
    Pinned {
        fingerprint: Fingerprint,
        algorithms: WebPkiSupportedAlgorithms,
    },
    Signed(Arc<WebPkiServerVerifier>),
}

/// Why a certificate is not believed, and which one it was, so that a person can
/// compare it with what the daemon printed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotBelieved {
    /// It is another one than the pinned one.
    #[error("it shows another certificate than the pinned one, with the fingerprint {0}")]
    NotPinned(Fingerprint),
    /// Nobody who is trusted has signed it for that name.
    #[error("its certificate, with the fingerprint {fingerprint}, is not trusted: {reason}")]
    NotSigned {
        /// What is wrong with it.
        reason: String,
        /// Which one it is.
        fingerprint: Fingerprint,
    },
}

impl Verifier {
    /// Believes one certificate.
    pub fn pinned(fingerprint: Fingerprint, provider: &CryptoProvider) -> Self {
        Self(Rule::Pinned {
            fingerprint,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    /// Believes certificates of authorities.
    pub fn signed(authorities: Arc<WebPkiServerVerifier>) -> Self {
        Self(Rule::Signed(authorities))
    }
}

fn error(reason: NotBelieved) -> Error {
    Error::Other(OtherError(Arc::new(reason)))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = Fingerprint(Sha256::digest(own).into());
        match &self.0 {
            Rule::Pinned { fingerprint, .. } if *fingerprint == shown => {
                Ok(ServerCertVerified::assertion())
            }
            Rule::Pinned { .. } => Err(error(NotBelieved::NotPinned(shown))),
            Rule::Signed(authorities) => authorities
                .verify_server_cert(own, intermediates, name, ocsp, now)
                .map_err(|reason| {
                    error(NotBelieved::NotSigned {
                        reason: reason.to_string(),
                        fingerprint: shown,
                    })
                }),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.0 {
            Rule::Pinned { algorithms, .. } => {
                verify_tls12_signature(message, certificate, signature, algorithms)
            }
            Rule::Signed(authorities) => {
                authorities.verify_tls12_signature(message, certificate, signature)
            }
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.0 {
            Rule::Pinned { algorithms, .. } => {
                verify_tls13_signature(message, certificate, signature, algorithms)
            }
            Rule::Signed(authorities) => {
                authorities.verify_tls13_signature(message, certificate, signature)
            }
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        match &self.0 {
            Rule::Pinned { algorithms, .. } => algorithms.supported_schemes(),
            Rule::Signed(authorities) => authorities.supported_verify_schemes(),
        }
    }
}
