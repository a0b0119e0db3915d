//! How the daemon of a machine asks to be let into a cluster.

use lote_model::access::token::JoinToken;
use lote_model::id::NodeName;
use lote_model::membership::JoinGrant;
use serde_json::json;

use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::http::Client;
use crate::settings::{self, SettingsError};
use crate::tls::Trust;

/// Whom to ask, with which token, and whom to believe.
#[derive(Debug)]
pub struct Invitation {
    url: String,
    token: JoinToken,
    trust: Trust,
}

/// The machine has not joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The text is no token, or one for people.
    #[error("that is no token to join with: make one with `lote token create --node`")]
    Token,
    /// The URL or the fingerprint is none.
    #[error("cannot join")]
    Settings(#[from] SettingsError),
    /// Everybody on the way could read the secrets.
    #[error(
        "will not take a cluster's secrets from {0} unencrypted: use an https:// URL; \
         --insecure-http says that the network is safe"
    )]
    Plain(String),
    /// The token names a certificate, and none would be shown.
    #[error("the daemon at {0} encrypts, as the token says: write https:// in place of http://")]
    Sealed(String),
    /// The token is wrong or of no use any more.
    #[error(
        "{url} does not let this machine in: {message}; make a new token with `lote token create \
         --node` on a machine of the cluster"
    )]
    Refused {
        /// The daemon.
        url: String,
        /// What it says.
        message: String,
    },
    /// The request was no good for another reason.
    #[error("{url} does not let this machine in: {message}")]
    Impossible {
        /// The daemon.
        url: String,
        /// What it says.
        message: String,
    },
    /// There is no daemon, or another one.
    #[error("cannot join by {url}; check that a daemon serves there and can be reached from here")]
    Call {
        /// The daemon.
        url: String,
        /// Why.
        #[source]
        source: Box<Failure>,
    },
    /// Another cluster answered than the one that made the token.
    #[error("{url} is of cluster {found}, but the token is for cluster {expected}")]
    OtherCluster {
        /// The daemon.
        url: String,
        /// Its cluster.
        found: String,
        /// The token's.
        expected: String,
    },
}

impl Invitation {
    /// Puts together what was given. `global` says whom to believe, if the token does not;
    /// `network_is_safe` allows plain HTTP.
    pub fn new(
        url: &str,
        token: &str,
        global: &GlobalArgs,
        network_is_safe: bool,
    ) -> Result<Self, JoinError> {
        let token = JoinToken::parse(token).ok_or(JoinError::Token)?;
        let url = settings::checked_url(url)?;
        let encrypted = url.starts_with("https://");
        if !encrypted && token.fingerprint.is_some() {
            return Err(JoinError::Sealed(url));
        }
        if !encrypted && !network_is_safe && !settings::is_local(&url) {
            return Err(JoinError::Plain(url));
        }
        let given = settings::trust(global.fingerprint.as_deref(), global.ca_file.clone())?;
        let trust = match (given, token.fingerprint) {
            (Trust::System, Some(fingerprint)) => Trust::Pinned(fingerprint),
            (given, _) => given,
        };
        Ok(Self { url, token, trust })
    }

    /// Asks to be let in under that name, which uses the token.
    pub fn ask(&self, name: &NodeName) -> Result<JoinGrant, JoinError> {
        let action = "join the cluster";
        let body = json!({"properties": {"name": name}});
        let client = Client::at(&self.url, Some(&self.token.bearer), &self.trust);
        let answer = client.and_then(|client| {
            let done = client.post(action, "/v1/join", Some(&body))?;
            let value = client.finish(action, done)?;
            client.understood::<JoinGrant>(action, &value)
        });
        let grant = answer.map_err(|failure| self.refused(failure))?;
        match &self.token.cluster_id {
            Some(expected) if *expected != grant.cluster_id => Err(JoinError::OtherCluster {
                url: self.url.clone(),
                found: grant.cluster_id.clone(),
                expected: expected.clone(),
            }),
            _ => Ok(grant),
        }
    }

    fn refused(&self, failure: Failure) -> JoinError {
        let url = self.url.clone();
        match failure {
            Failure::Refused {
                status, problem, ..
            } => {
                let message = problem.message;
                match status {
                    401 | 403 => JoinError::Refused { url, message },
                    _ => JoinError::Impossible { url, message },
                }
            }
            failure => JoinError::Call {
                url,
                source: Box::new(failure),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "lotejoin_0000000000000005_secret";

    fn invited(url: &str, token: &str, safe: bool) -> Result<Invitation, JoinError> {
        Invitation::new(url, token, &GlobalArgs::default(), safe)
    }

    #[test]
    fn secrets_travel_encrypted_or_on_a_safe_network() {
        assert!(invited("https://a:8471", TOKEN, false).is_ok());
        assert!(invited("http://127.0.0.1:8471", TOKEN, false).is_ok());
        assert!(invited("http://a:8471", TOKEN, true).is_ok());
        let plain = invited("http://a:8471", TOKEN, false).unwrap_err();
        assert!(matches!(plain, JoinError::Plain(_)), "{plain}");
        let sealed = format!("{TOKEN}.{}", "ab".repeat(32));
        let error = invited("http://a:8471", &sealed, true).unwrap_err();
        assert!(matches!(error, JoinError::Sealed(_)), "{error}");
    }

    #[test]
    fn the_token_says_whom_to_believe_unless_somebody_else_does() {
        let sealed = format!("{TOKEN}.{}", "ab".repeat(32));
        let trust = |fingerprint: Option<String>| {
            let global = GlobalArgs {
                fingerprint,
                ..GlobalArgs::default()
            };
            let invitation = Invitation::new("https://a", &sealed, &global, false);
            invitation.unwrap().trust
        };
        let pinned = |byte| Trust::Pinned(lote_model::access::fingerprint::Fingerprint([byte; 32]));
        assert_eq!(trust(None), pinned(0xab));
        assert_eq!(trust(Some("cd".repeat(32))), pinned(0xcd));
    }

    #[test]
    fn what_is_no_token_to_join_with_is_not_sent() {
        for text in ["", "lote_0000000000000005_secret", "lotejoin_x"] {
            let error = invited("https://a", text, false).unwrap_err();
            assert!(error.to_string().contains("--node"), "{error}");
        }
    }
}
