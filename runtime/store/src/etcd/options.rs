//! How to reach etcd, and why that may be impossible.

use std::fmt;
use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use thiserror::Error;

/// How long a connection may take. Nothing listens behind a wire that is cut, and another member
/// waits to be asked.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// How often a connection in use is pinged. etcd hangs up on clients that ping more often than
/// every five seconds.
const PING_EVERY: Duration = Duration::from_secs(6);

/// How long a ping may go unanswered.
const PING_LIMIT: Duration = Duration::from_secs(3);

/// The longest prefix: with it, the largest transaction still fits into etcd's limit.
const PREFIX_BYTES_MAX: usize = 32;

/// The port of an endpoint that names none.
const PORT_DEFAULT: u16 = 2379;

/// Where etcd is and how to talk to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdOptions {
    /// The URLs of all members, each once, such as `https://10.0.0.1:2379`.
    pub endpoints: Vec<String>,
    /// Certificates; needed for `https`.
    pub tls: Option<EtcdTls>,
    /// What every key starts with, so that others can use the same etcd.
    pub prefix: String,
}

/// The certificates for connections to etcd, in PEM form.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdTls {
    /// The authority that signed the members' certificates.
    pub authority: Vec<u8>,
    /// What this client shows, if etcd asks for it.
    pub identity: Option<EtcdIdentity>,
}

/// A client's certificate with its key, in PEM form.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdIdentity {
    /// The certificate, with those above it.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
}

/// Why a store in etcd cannot even be tried.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EtcdOptionsError {
    /// No endpoint is given.
    #[error("no member of etcd is named: give their URLs, such as https://10.0.0.1:2379")]
    NoEndpoint,
    /// An endpoint is no URL.
    #[error("'{endpoint}' is not the URL of an etcd member: give it as https://HOST:2379")]
    Endpoint {
        /// What was given.
        endpoint: String,
    },
    /// The certificates do not fit the URLs.
    #[error(
        "the URLs of etcd must all start with https:// if certificates are given, and all with http:// if not"
    )]
    Scheme,
    /// The prefix is empty or too long.
    #[error("the prefix '{prefix}' must have 1 to {PREFIX_BYTES_MAX} bytes")]
    Prefix {
        /// What was given.
        prefix: String,
    },
    /// A certificate or key cannot be used.
    #[error("etcd at {endpoint} cannot be used with these certificates: {reason}")]
    Client {
        /// The member.
        endpoint: String,
        /// What is wrong.
        reason: String,
    },
}

impl EtcdOptions {
    /// The prefix unless told otherwise.
    pub const PREFIX_DEFAULT: &str = "/lote/";

    /// Members without certificates, for a network that nobody else is on.
    pub fn plain(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            tls: None,
            prefix: Self::PREFIX_DEFAULT.to_owned(),
        }
    }

    pub(super) fn check(&self) -> Result<(), EtcdOptionsError> {
        if self.endpoints.is_empty() {
            return Err(EtcdOptionsError::NoEndpoint);
        }
        if self.prefix.is_empty() || self.prefix.len() > PREFIX_BYTES_MAX {
            return Err(EtcdOptionsError::Prefix {
                prefix: self.prefix.clone(),
            });
        }
        for endpoint in &self.endpoints {
            address(endpoint).ok_or_else(|| EtcdOptionsError::Endpoint {
                endpoint: endpoint.clone(),
            })?;
            if endpoint.starts_with("https://") != self.tls.is_some() {
                return Err(EtcdOptionsError::Scheme);
            }
        }
        Ok(())
    }

    pub(super) fn connect_options(&self) -> ConnectOptions {
        let options = ConnectOptions::new()
            .with_connect_timeout(CONNECT_LIMIT)
            .with_keep_alive(PING_EVERY, PING_LIMIT)
            // A member that has lost the others says so instead of keeping a caller waiting.
            .with_require_leader(true);
        let Some(tls) = &self.tls else {
            return options;
        };
        let mut tls_options =
            TlsOptions::new().ca_certificate(Certificate::from_pem(&tls.authority));
        if let Some(identity) = &tls.identity {
            tls_options =
                tls_options.identity(Identity::from_pem(&identity.certificate, &identity.key));
        }
        options.with_tls(tls_options)
    }
}

/// Host and port of an endpoint, as a connection takes them; `None` if it is no URL of etcd's.
pub(super) fn address(endpoint: &str) -> Option<String> {
    let rest = endpoint
        .strip_prefix("https://")
        .or_else(|| endpoint.strip_prefix("http://"))?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ', ',']) {
        return None;
    }
    let after_address = authority.rsplit(']').next().unwrap_or(authority);
    match after_address.rsplit_once(':') {
        Some((_, port)) => port.parse::<u16>().ok().map(|_| authority.to_owned()),
        None => Some(format!("{authority}:{PORT_DEFAULT}")),
    }
}

// A key must not get into a log.
impl fmt::Debug for EtcdTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EtcdTls").finish_non_exhaustive()
    }
}

impl fmt::Debug for EtcdIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EtcdIdentity")
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_names_a_host_and_perhaps_a_port() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:1234", Some("127.0.0.1:1234")),
            ("https://etcd-1.lab/", Some("etcd-1.lab:2379")),
            ("https://[fd00::1]:2379", Some("[fd00::1]:2379")),
            ("https://[fd00::1]", Some("[fd00::1]:2379")),
            ("127.0.0.1:2379", None),
            ("https://", None),
            ("http://a:b", None),
            ("http://a:1/path", None),
            ("http://a:1,http://b:1", None),
        ] {
            assert_eq!(address(endpoint).as_deref(), expected, "{endpoint}");
        }
    }

    #[test]
    fn certificates_and_urls_must_fit() {
        let tls = EtcdTls {
            authority: Vec::new(),
            identity: None,
        };
        let options = |endpoints: &[&str], tls: Option<&EtcdTls>| EtcdOptions {
            tls: tls.cloned(),
            ..EtcdOptions::plain(endpoints.iter().copied())
        };
        options(&["http://a", "http://b"], None).check().unwrap();
        options(&["https://a"], Some(&tls)).check().unwrap();
        for refused in [
            options(&["https://a"], None),
            options(&["http://a"], Some(&tls)),
            options(&["https://a", "http://b"], Some(&tls)),
        ] {
            assert!(matches!(refused.check(), Err(EtcdOptionsError::Scheme)));
        }
        assert!(matches!(
            options(&[], None).check(),
            Err(EtcdOptionsError::NoEndpoint)
        ));
        let long = EtcdOptions {
            prefix: "p".repeat(PREFIX_BYTES_MAX + 1),
            ..options(&["http://a"], None)
        };
        assert!(matches!(long.check(), Err(EtcdOptionsError::Prefix { .. })));
    }

    #[test]
    fn a_key_is_not_shown() {
        let tls = EtcdTls {
            authority: b"authority".to_vec(),
            identity: Some(EtcdIdentity {
                certificate: b"certificate".to_vec(),
                key: b"key".to_vec(),
            }),
        };
        let shown = format!("{tls:?} {:?}", tls.identity);
        assert!(!shown.contains('['), "{shown}");
    }
}
