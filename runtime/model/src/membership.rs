//! What makes daemons a cluster: its identity, and how a machine joins.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::body;
use crate::id::NodeName;
use crate::problem::Problem;

/// The length of a cluster's id: 128 random bits in hexadecimal digits.
const CLUSTER_ID_LENGTH: usize = 32;

/// Whether a text has the form of a cluster's id.
pub fn is_cluster_id(text: &str) -> bool {
    text.len() == CLUSTER_ID_LENGTH && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Which cluster a store belongs to: `cluster/identity`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterIdentity {
    /// Random, see [`is_cluster_id`]; never changes.
    pub id: String,
    /// The fingerprint of the cluster's key, so that a daemon with another key
    /// finds out before it seals anything.
    pub key_fingerprint: String,
    /// When the first daemon started.
    pub created_at: Timestamp,
}

/// What a machine that joins asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// The name it wants.
    pub name: NodeName,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JoinProperties {
    name: String,
}

impl JoinRequest {
    /// Reads and checks the body of a request to join.
    pub fn parse(request_body: &[u8]) -> Result<Self, Problem> {
        let members = body::properties(request_body, &[])?;
        let properties: JoinProperties =
            body::typed(serde_json::Value::Object(members), "/properties")?;
        let name = NodeName::parse(&properties.name);
        Ok(Self {
            name: name.map_err(|problem| problem.at("/properties/name"))?,
        })
    }
}

/// What a machine needs to be a daemon of a cluster. All of it is secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinGrant {
    /// Which cluster it joins.
    pub cluster_id: String,
    /// The name it has there.
    pub name: NodeName,
    /// The cluster's key, 64 hexadecimal digits.
    pub cluster_key: String,
    /// How the cluster's store is reached.
    pub etcd: EtcdAccess,
}

/// How a daemon reaches the members of etcd.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdAccess {
    /// The URLs of the members.
    pub endpoints: Vec<String>,
    /// The authorities that sign the members' certificates, PEM; none without TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<String>,
    /// The certificate to show them, PEM; none if they ask for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Its private key, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<String>,
    /// Whether they ask for a certificate, and every machine brings its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bring_certificate: bool,
    /// What all keys of the cluster start with, if that is not the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// What a machine that has joined keeps beside the cluster's key: `cluster.json` in its
/// data directory.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Membership {
    /// Which cluster it joined.
    pub cluster_id: String,
    /// The name it has there.
    pub name: NodeName,
    /// How the cluster's store is reached.
    pub etcd: EtcdAccess,
    /// When it joined.
    pub joined_at: Timestamp,
}

impl EtcdAccess {
    /// The same for another machine, which must bring a certificate of its own.
    #[must_use]
    pub fn without_certificate(&self) -> Self {
        Self {
            endpoints: self.endpoints.clone(),
            authorities: self.authorities.clone(),
            certificate: None,
            private_key: None,
            bring_certificate: self.bring_certificate || self.certificate.is_some(),
            prefix: self.prefix.clone(),
        }
    }

    /// Whether a certificate is wanted and not there.
    pub fn lacks_certificate(&self) -> bool {
        self.bring_certificate && self.certificate.is_none()
    }
}

impl JoinGrant {
    /// What the machine keeps of it, beside the key.
    pub fn membership(&self, joined_at: Timestamp) -> Membership {
        Membership {
            cluster_id: self.cluster_id.clone(),
            name: self.name.clone(),
            etcd: self.etcd.clone(),
            joined_at,
        }
    }

    /// The cluster's key; none if the text is no key.
    pub fn key(&self) -> Option<[u8; 32]> {
        let digits: Vec<u8> = self
            .cluster_key
            .chars()
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()?;
        let mut key = [0; 32];
        if digits.len() != 2 * key.len() {
            return None;
        }
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Some(key)
    }

    /// A key as text.
    pub fn key_text(key: &[u8; 32]) -> String {
        key.iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .collect()
    }
}

impl std::fmt::Debug for JoinGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinGrant")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership")
            .field("cluster_id", &self.cluster_id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for EtcdAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdAccess")
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

impl Drop for JoinGrant {
    fn drop(&mut self) {
        self.cluster_key.zeroize();
    }
}

impl Drop for EtcdAccess {
    fn drop(&mut self) {
        self.private_key.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_names_a_node() {
        let parse = |body: serde_json::Value| JoinRequest::parse(body.to_string().as_bytes());
        let request = parse(json!({"properties": {"name": "gpu2"}})).unwrap();
        assert_eq!(request.name.as_str(), "gpu2");
        for (body, target) in [
            (json!({"properties": {"name": "../x"}}), "/properties/name"),
            (json!({"properties": {}}), "/properties"),
            (
                json!({"properties": {"name": "a", "x": 1}}),
                "/properties/x",
            ),
        ] {
            assert_eq!(parse(body).unwrap_err().target.as_deref(), Some(target));
        }
    }

    #[test]
    fn a_grant_keeps_its_key_and_shows_nothing() {
        let key: [u8; 32] = std::array::from_fn(|at| u8::try_from(at * 7 % 256).unwrap());
        let grant = JoinGrant {
            cluster_id: "c".into(),
            name: NodeName::new("gpu2"),
            cluster_key: JoinGrant::key_text(&key),
            etcd: EtcdAccess {
                endpoints: vec!["https://10.0.0.1:2379".into()],
                authorities: None,
                certificate: Some("CERTIFICATE".into()),
                private_key: Some("PRIVATE".into()),
                bring_certificate: false,
                prefix: None,
            },
        };
        assert_eq!(grant.key(), Some(key));
        let kept = grant.membership(Timestamp::UNIX_EPOCH);
        let shown = format!("{grant:?} {:?} {kept:?}", grant.etcd);
        assert!(
            !shown.contains(&grant.cluster_key) && !shown.contains("PRIVATE"),
            "{shown}"
        );
        let text = serde_json::to_string(&grant).unwrap();
        assert_eq!(serde_json::from_str::<JoinGrant>(&text).unwrap(), grant);
        assert!(
            !serde_json::to_string(&kept)
                .unwrap()
                .contains(&grant.cluster_key)
        );
        let mut cut = grant.clone();
        cut.cluster_key.pop();
        assert_eq!(cut.key(), None);
        assert!(!grant.etcd.lacks_certificate());
        let others = grant.etcd.without_certificate();
        assert!(others.lacks_certificate());
        assert!(!serde_json::to_string(&others).unwrap().contains("PRIVATE"));
    }

    #[test]
    fn what_an_older_daemon_grants_is_understood() {
        let text = r#"{"endpoints": ["http://10.0.0.1:2379"]}"#;
        let access: EtcdAccess = serde_json::from_str(text).unwrap();
        assert!(!access.lacks_certificate() && access.prefix.is_none());
        assert!(!access.without_certificate().lacks_certificate());
    }
}
