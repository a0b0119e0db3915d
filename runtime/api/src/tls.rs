//! TLS of the daemon's port.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use lote_model::access::fingerprint::Fingerprint;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a client may take until a connection is encrypted.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client that spoke plain HTTP may take to go away.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// What the first byte of every TLS connection is: the type of a handshake record.
const HANDSHAKE: u8 = 0x16;

/// The answer to plain HTTP.
const PLAIN_HTTP: &str = "HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 57\r\n\
    connection: close\r\n\r\n\
    This is an HTTPS port: use https:// instead of http://.\r\n";

/// A certificate with its key, ready to serve; clones are the same.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
}

/// Why a certificate and a key cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate could be read.
    #[error("there is no certificate in PEM form")]
    Certificate,
    /// No private key could be read.
    #[error("there is no private key in PEM form")]
    Key,
    /// They do not fit together, or are of a kind that is not known.
    #[error("the certificate and the key cannot be used")]
    Unusable(#[source] rustls::Error),
}

impl Tls {
    /// Reads a chain of certificates, the daemon's own first, and its key.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| TlsError::Certificate)?;
        let own = chain.first().ok_or(TlsError::Certificate)?;
        let fingerprint = Fingerprint(Sha256::digest(own).into());
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key);
        let mut config = config.map_err(TlsError::Unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            fingerprint,
        })
    }

    /// The name of the certificate, which clients can pin.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Makes a connection an encrypted one. Whoever speaks plain HTTP is told so.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.handshake(stream));
        handshake
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn handshake(&self, mut stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first[0].is_ascii_uppercase() {
            dismiss(&mut stream).await?;
            return Err(io::Error::other("plain HTTP on a TLS port"));
        }
        if first[0] != HANDSHAKE {
            return Err(io::Error::other("neither TLS nor HTTP"));
        }
        TlsAcceptor::from(self.config.clone()).accept(stream).await
    }
}

/// Answers, and reads until the client has gone: closing over unread bytes
/// would throw the answer away.
async fn dismiss(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(PLAIN_HTTP.as_bytes()).await?;
    stream.shutdown().await?;
    let mut rest = [0; 4096];
    let gone = async { while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {} };
    let _ = tokio::time::timeout(FAREWELL_TIMEOUT, gone).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_farewell_is_as_long_as_it_says() {
        let (_, body) = PLAIN_HTTP.split_once("\r\n\r\n").unwrap();
        assert!(PLAIN_HTTP.contains(&format!("content-length: {}\r\n", body.len())));
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let tls = Tls::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        let digest: [u8; 32] = Sha256::digest(made.cert.der()).into();
        assert_eq!(tls.fingerprint().0, digest);

        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = other.signing_key.serialize_pem();
        for (chain, key, expected) in [
            ("", key.as_str(), "certificate"),
            (key.as_str(), key.as_str(), "certificate"),
            (chain.as_str(), "", "private key"),
            (chain.as_str(), chain.as_str(), "private key"),
            (chain.as_str(), other.as_str(), "cannot be used"),
        ] {
            let error = Tls::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
