//! The cluster's certificate authority: whoever has a certificate of it is a daemon
//! of this cluster.
//!
//! The first daemon makes it. It stands in the store, its private key sealed with
//! the cluster's key, so that every daemon can make its own certificate anew.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::key::SealingKey;
use crate::seal::{SealError, Sealed};

/// How long the authority lasts: longer than the machines.
const AUTHORITY_LIFE: Duration = Duration::days(20 * 365);

/// How long a node's certificate lasts.
pub const NODE_LIFE: std::time::Duration = std::time::Duration::from_hours(30 * 24);

/// Clocks of a cluster may differ by so much.
const CLOCK_SKEW: Duration = Duration::days(1);

/// The authority as the store has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityRecord {
    /// Its certificate, PEM.
    pub certificate: String,
    /// Its private key, sealed.
    pub private_key: Sealed,
}

/// The authority could not be made, opened or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A key or a certificate could not be made or read.
    #[error("the cluster's certificate authority cannot be made or used")]
    Certificate(#[from] rcgen::Error),
    /// It was sealed with another key.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// What was opened is no key.
    #[error("the private key of the cluster's certificate authority is not readable")]
    Unreadable,
}

/// A certificate with its private key, both PEM.
pub struct Certified {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub private_key: Zeroizing<String>,
}

/// The authority, ready to sign.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl AuthorityRecord {
    /// Makes a new authority for the cluster of that id, to stand under `store_key`.
    pub fn make(
        key: &SealingKey,
        store_key: &str,
        cluster_id: &str,
        now: std::time::SystemTime,
    ) -> Result<Self, AuthorityError> {
        let pair = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&format!("Lote cluster {cluster_id}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let now = OffsetDateTime::from(now);
        params.not_before = now - CLOCK_SKEW;
        params.not_after = now + AUTHORITY_LIFE;
        let private_key = Zeroizing::new(pair.serialize_pem());
        Ok(Self {
            certificate: params.self_signed(&pair)?.pem(),
            private_key: Sealed::seal_bytes(key, store_key, private_key.as_bytes())?,
        })
    }

    /// Opens it with the cluster's key.
    pub fn open(&self, key: &SealingKey, store_key: &str) -> Result<Authority, AuthorityError> {
        let private_key = self.private_key.open_bytes(key, store_key)?;
        let text = std::str::from_utf8(&private_key).map_err(|_| AuthorityError::Unreadable)?;
        let pair = KeyPair::from_pem(text)?;
        Ok(Authority {
            certificate: self.certificate.clone(),
            issuer: Issuer::from_ca_cert_pem(&self.certificate, pair)?,
        })
    }
}

impl Authority {
    /// Its certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A new key and a certificate for the daemon of that name, which it shows when
    /// it asks and when it is asked. `addresses` are further names and addresses of it.
    pub fn certify(
        &self,
        node: &str,
        addresses: &[String],
        now: std::time::SystemTime,
    ) -> Result<Certified, AuthorityError> {
        let pair = KeyPair::generate()?;
        let mut names = vec![node.to_owned()];
        names.extend(addresses.iter().filter(|name| *name != node).cloned());
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = named(node);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let now = OffsetDateTime::from(now);
        params.not_before = now - CLOCK_SKEW;
        params.not_after = now + NODE_LIFE;
        Ok(Certified {
            certificate: params.signed_by(&pair, &self.issuer)?.pem(),
            private_key: Zeroizing::new(pair.serialize_pem()),
        })
    }
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const PLACE: &str = "cluster/authority";

    fn key() -> SealingKey {
        SealingKey::new([7; 32])
    }

    #[test]
    fn the_authority_opens_with_the_clusters_key_only() {
        let record = AuthorityRecord::make(&key(), PLACE, "c1", SystemTime::now()).unwrap();
        let stored = serde_json::to_string(&record).unwrap();
        assert!(!stored.contains("PRIVATE KEY"), "{stored}");
        let authority = record.open(&key(), PLACE).unwrap();
        assert_eq!(authority.certificate(), record.certificate);
        let other = SealingKey::new([8; 32]);
        let error = record.open(&other, PLACE).unwrap_err();
        assert!(matches!(
            error,
            AuthorityError::Seal(SealError::Closed { .. })
        ));
    }

    #[test]
    fn every_certificate_has_a_key_of_its_own() {
        let record = AuthorityRecord::make(&key(), PLACE, "c1", SystemTime::now()).unwrap();
        let authority = record.open(&key(), PLACE).unwrap();
        let certify = || {
            let addresses = ["10.0.0.1".to_owned()];
            authority
                .certify("gpu1", &addresses, SystemTime::now())
                .unwrap()
        };
        let (one, other) = (certify(), certify());
        assert_ne!(*one.private_key, *other.private_key);
        assert_ne!(one.certificate, other.certificate);
    }
}
