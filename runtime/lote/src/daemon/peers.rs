//! This daemon among the others: its certificate, which it renews by itself, and the
//! door at which the others ask.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lote_api::state::ApiState;
use lote_api::{PeerCredentials, PeerCredentialsError, RemoteStartDoor, serve_peers};
use lote_model::id::NodeName;
use lote_model::problem::explain;
use lote_vault::authority::NODE_LIFE;
use lote_vault::{Authority, AuthorityError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::machine::host_and_port;

/// A certificate is renewed when a third of its life is left: there is time to mend
/// what keeps it from being renewed.
const RENEW_AFTER: Duration = Duration::from_secs(NODE_LIFE.as_secs() / 3 * 2);

/// How often it is looked whether the time has come. Not once after so many days: the
/// clock may be set, and machines sleep.
const LOOK_AGAIN: Duration = Duration::from_hours(1);

/// A clock that was set back by more makes a certificate one of the future.
const CLOCK_SKEW: Duration = Duration::from_hours(12);

/// This daemon cannot talk with others.
#[derive(Debug, thiserror::Error)]
pub(super) enum PeersError {
    #[error(
        "cannot listen for other daemons on {address}; is another daemon running? choose another \
         address with --peer-listen"
    )]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("cannot make this daemon's certificate")]
    Authority(#[from] AuthorityError),
    #[error("cannot use this daemon's certificate")]
    Credentials(#[from] PeerCredentialsError),
}

/// The door, open to the kernel and not served yet.
#[derive(Debug)]
pub(super) struct PeerDoor {
    listener: TcpListener,
    /// Where others find it, `host:port`.
    pub(super) address: String,
    certificate: NodeCertificate,
}

impl PeerDoor {
    /// Listens there, with a new certificate for `node`, which others reach by `address`.
    pub(super) async fn open(
        listen: SocketAddr,
        authority: Authority,
        node: &NodeName,
        address: &str,
    ) -> Result<Self, PeersError> {
        let failed = |source| PeersError::Listen {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let names = vec![address.to_owned()];
        Ok(Self {
            listener,
            address: host_and_port(address, port),
            certificate: NodeCertificate::make(authority, node, names, SystemTime::now())?,
        })
    }

    /// What this daemon shows others; renewals are seen through it.
    pub(super) fn credentials(&self) -> &PeerCredentials {
        &self.certificate.credentials
    }

    /// Serves other daemons, and renews the certificate, until `stop`.
    pub(super) async fn serve(
        self,
        api: ApiState,
        starts: Arc<dyn RemoteStartDoor>,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        let credentials = self.credentials().clone();
        let shutdown = stop.clone().cancelled_owned();
        let (served, ()) = tokio::join!(
            serve_peers(self.listener, api, credentials, starts, shutdown),
            self.certificate.keep(stop)
        );
        served
    }
}

/// What shows who this daemon is. Its private key is in memory only.
#[derive(Debug)]
struct NodeCertificate {
    authority: Authority,
    node: NodeName,
    /// Further names and addresses of the node.
    names: Vec<String>,
    credentials: PeerCredentials,
    made_at: SystemTime,
}

impl NodeCertificate {
    fn make(
        authority: Authority,
        node: &NodeName,
        names: Vec<String>,
        now: SystemTime,
    ) -> Result<Self, PeersError> {
        let made = authority.certify(node.as_str(), &names, now)?;
        let credentials = PeerCredentials::from_pem(
            authority.certificate(),
            &made.certificate,
            &made.private_key,
        )?;
        Ok(Self {
            authority,
            node: node.clone(),
            names,
            credentials,
            made_at: now,
        })
    }

    /// Shows a new certificate if the old one is due. Says whether it was.
    fn renew_if_due(&mut self, now: SystemTime) -> Result<bool, PeersError> {
        if !is_due(self.made_at, now) {
            return Ok(false);
        }
        let made = self
            .authority
            .certify(self.node.as_str(), &self.names, now)?;
        self.credentials
            .renew(&made.certificate, &made.private_key)?;
        self.made_at = now;
        Ok(true)
    }

    async fn keep(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            match self.renew_if_due(SystemTime::now()) {
                Ok(true) => tracing::info!("renewed the certificate that other daemons see"),
                Ok(false) => {}
                Err(error) => tracing::error!(
                    "the certificate that other daemons see could not be renewed: {}",
                    explain(&error)
                ),
            }
        }
    }
}

fn is_due(made_at: SystemTime, now: SystemTime) -> bool {
    match now.duration_since(made_at) {
        Ok(age) => age >= RENEW_AFTER,
        Err(earlier) => earlier.duration() >= CLOCK_SKEW,
    }
}

#[cfg(test)]
mod tests {
    use lote_vault::{AuthorityRecord, SealingKey};

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn authority() -> Authority {
        let key = SealingKey::new([7; 32]);
        let record = AuthorityRecord::make(&key, "a", "c", SystemTime::now()).unwrap();
        record.open(&key, "a").unwrap()
    }

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_life_is_left() {
        let now = SystemTime::now();
        let node = NodeName::new("gpu1");
        let names = vec!["10.0.0.1".to_owned()];
        let mut certificate = NodeCertificate::make(authority(), &node, names, now).unwrap();
        assert!(!certificate.renew_if_due(now).unwrap());
        assert!(!certificate.renew_if_due(now + 19 * DAY).unwrap());
        assert!(certificate.renew_if_due(now + 20 * DAY).unwrap());
        // And counts from then.
        assert!(!certificate.renew_if_due(now + 39 * DAY).unwrap());
        assert!(certificate.renew_if_due(now + 41 * DAY).unwrap());
    }

    #[test]
    fn a_clock_that_was_set_back_is_noticed() {
        let now = SystemTime::now();
        assert!(!is_due(now, now - Duration::from_hours(1)));
        assert!(is_due(now, now - DAY));
    }

    #[tokio::test]
    async fn the_address_that_others_are_told_has_the_port_that_is_listened_on() {
        let node = NodeName::new("gpu1");
        let any = "127.0.0.1:0".parse().unwrap();
        let door = PeerDoor::open(any, authority(), &node, "gpu1.lab").await;
        let door = door.unwrap();
        let port = door.listener.local_addr().unwrap().port();
        assert_eq!(door.address, format!("gpu1.lab:{port}"));
        let taken = door.listener.local_addr().unwrap();
        let error = PeerDoor::open(taken, authority(), &node, "gpu1.lab").await;
        let error = error.unwrap_err();
        assert!(error.to_string().contains("--peer-listen"), "{error}");
    }
}
