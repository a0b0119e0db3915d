//! What all handlers share.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use lote_model::framework::Frameworks;
use lote_model::id::NodeName;
use lote_model::quota::Quotas;
use lote_model::storage_account::StorageAccounts;
use lote_store::Store;
use lote_vault::SealingKey;
use tokio_util::sync::CancellationToken;

use crate::archive::Retention;
use crate::audit::AuditLog;
use crate::auth::{Door, OperatorTokens};
use crate::join::JoinOffer;
use crate::metrics::RequestMeter;
use crate::peers::PeerCredentials;
use crate::telemetry::TelemetrySource;
use crate::tls::Tls;
use crate::token::Signer;

/// Tells the time; tests give their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The settings of the HTTP interface.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// The node this daemon runs on; it reads output files of this node only.
    pub node: NodeName,
    /// Signs download links and operation ids. Keep it: both stop working when
    /// it changes. The same on all daemons of a cluster.
    pub link_key: [u8; 32],
    /// Seals the secrets of jobs and clusters. None: bodies with secrets are refused.
    pub sealing_key: Option<SealingKey>,
    /// The URL that clients reach the daemon by, such as `http://gate:8471`,
    /// without a path. None: the `Host` header of each request says it.
    pub public_url: Option<String>,
    /// The largest request body, in bytes.
    pub body_limit_bytes: usize,
    /// How long a client may take to send the head of a request; also how long a
    /// connection may be idle between requests.
    pub head_timeout: Duration,
    /// How long a client may take to send a body.
    pub body_timeout: Duration,
    /// Whether output files are opened with the rights of the job's user. Needs
    /// root; without it a daemon reads with its own rights.
    pub read_as_job_user: bool,
    /// What this daemon shows other daemons. None: it asks none, and none ask it.
    pub peers: Option<PeerCredentials>,
    /// What machines get that join by this daemon. None: none can join.
    pub join_offer: Option<JoinOffer>,
    /// Encrypts connections. None: plain HTTP.
    pub tls: Option<Tls>,
    /// Administrators whose tokens are not in the store.
    pub operator_tokens: OperatorTokens,
    /// Where it is written who changed what. None: nowhere.
    pub audit: Option<AuditLog>,
    /// Whether reads are written there as well.
    pub audit_reads: bool,
    /// How long finished jobs are kept. None: until they are deleted.
    pub retention: Option<Retention>,
    /// Where figures of the moment come from.
    pub telemetry: TelemetrySource,
    /// How much users may create.
    pub quotas: Quotas,
    /// Whether the services beside Batch AI that its clients call are there.
    pub neighbours: bool,
    /// What the storage service among them tells.
    pub storage_accounts: StorageAccounts,
}

impl ApiConfig {
    /// The defaults for a daemon on `node`.
    pub fn new(node: NodeName, link_key: [u8; 32]) -> Self {
        Self {
            node,
            link_key,
            sealing_key: None,
            public_url: None,
            body_limit_bytes: 4 << 20,
            head_timeout: Duration::from_mins(1),
            body_timeout: Duration::from_secs(30),
            read_as_job_user: false,
            peers: None,
            join_offer: None,
            tls: None,
            operator_tokens: OperatorTokens::default(),
            audit: None,
            audit_reads: false,
            retention: None,
            telemetry: TelemetrySource::default(),
            quotas: Quotas::default(),
            neighbours: true,
            storage_accounts: StorageAccounts::default(),
        }
    }
}

/// What all handlers share; clones are the same state.
#[derive(Clone)]
pub struct ApiState(Arc<Shared>);

/// The one copy behind every [`ApiState`].
pub struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) frameworks: Arc<dyn Frameworks>,
    pub(crate) config: ApiConfig,
    pub(crate) clock: Clock,
    pub(crate) signer: Signer,
    /// Whether tokens are asked for, and whose streams are open.
    pub(crate) door: Door,
    /// What was asked, and how long it took.
    pub(crate) requests: RequestMeter,
    /// Ends the answers that never end by themselves.
    pub(crate) stopping: CancellationToken,
    /// Where the server listens; the last resort for absolute URLs.
    pub(crate) address: OnceLock<SocketAddr>,
}

impl ApiState {
    /// Puts the parts together. `clock` is [`Timestamp::now`] outside tests.
    pub fn new(
        store: Arc<dyn Store>,
        frameworks: Arc<dyn Frameworks>,
        config: ApiConfig,
        clock: Clock,
    ) -> Self {
        Self(Arc::new(Shared {
            signer: Signer::new(&config.link_key),
            store,
            frameworks,
            config,
            clock,
            door: Door::default(),
            requests: RequestMeter::default(),
            stopping: CancellationToken::new(),
            address: OnceLock::new(),
        }))
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }
}

impl std::ops::Deref for ApiState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl std::fmt::Debug for ApiState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ApiState")
            .field("node", &self.config.node)
            .finish_non_exhaustive()
    }
}
