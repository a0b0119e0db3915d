//! The secret variables of a job: opened for its own allocation, kept in memory,
//! handed on through the spawner's socket, written nowhere.

use lote_model::allocation::NodePlan;
use lote_model::cluster::ClusterRecord;
use lote_model::job::{ErrorRecord, JobRecord};
use lote_model::key;
use lote_model::planned_mount::MountRoot;
use lote_model::problem::explain;
use lote_model::secret::{KeyVaultReference, SecretText, SecretValue, Secrets, redacted};
use lote_model::secret_members::variable_pointer;
use lote_store::{StoreError, get_json};
use lote_vault::{Sealed, SecretTable};

use super::Node;
use crate::mount::{Keys, Placed};

/// The code of a job that needs a secret which this node does not have.
const SECRET_NOT_AVAILABLE: &str = "SecretNotAvailable";

/// The secret variables of one job, or why it cannot have them.
#[derive(Debug)]
pub(super) struct JobSecrets(Result<Vec<(String, SecretText)>, ErrorRecord>);

impl Default for JobSecrets {
    fn default() -> Self {
        Self(Ok(Vec::new()))
    }
}

impl JobSecrets {
    pub(super) fn new(found: Result<Vec<(String, SecretText)>, ErrorRecord>) -> Self {
        Self(found)
    }

    /// Those that are known.
    pub(super) fn known(&self) -> &[(String, SecretText)] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Why nothing of the job can be started.
    pub(super) fn problem(&self) -> Option<&ErrorRecord> {
        self.0.as_ref().err()
    }

    /// A text without any of them.
    pub(super) fn redacted(&self, text: &str) -> String {
        redacted(text, self.known().iter().map(|(_, value)| value))
    }
}

/// Opens the secrets that a plan names.
pub(super) async fn load(node: &Node, plan: &NodePlan) -> Result<JobSecrets, StoreError> {
    if plan.secret_variables.is_empty() {
        return Ok(JobSecrets::default());
    }
    let store_key = key::job_secrets(&plan.uid);
    let sealed = get_json::<Sealed>(&*node.store, &store_key).await?;
    let sealed = sealed.map(|entry| entry.value);
    let found = opened(node, plan, &store_key, sealed);
    let here = node.config.name.as_str();
    Ok(JobSecrets::new(
        found.map_err(|error| error.with("node", here)),
    ))
}

fn opened(
    node: &Node,
    plan: &NodePlan,
    store_key: &str,
    sealed: Option<Sealed>,
) -> Result<Vec<(String, SecretText)>, ErrorRecord> {
    let failed = |message: String| ErrorRecord::new(SECRET_NOT_AVAILABLE, message);
    let sealed = sealed.ok_or_else(|| failed("the job's secrets are not in the store".into()))?;
    let cluster_key = node.config.sealing_key.as_ref();
    let cluster_key =
        cluster_key.ok_or_else(|| failed("this node has no key to open secrets with".into()))?;
    let secrets = sealed
        .open(cluster_key, store_key)
        .map_err(|error| failed(explain(&error)))?;
    let table = Table::new(node);
    let names = plan.secret_variables.iter().enumerate();
    names
        .map(|(index, name)| Ok((name.clone(), table.value(&secrets, index, name)?)))
        .collect()
}

/// The keys of the accounts of a job's file systems: its own are among its secrets, those of its
/// cluster's file systems among the cluster's. A storage table may need none of them, so what is
/// missing is an error only for whoever needs it.
pub(super) async fn account_keys(node: &Node, plan: &NodePlan, mounts: &[Placed]) -> Keys {
    let mut keys = Keys::new();
    for root in [MountRoot::Cluster, MountRoot::Job] {
        let of_root = mounts.iter().filter(|placed| placed.root == root);
        let pointers: Vec<&String> = of_root.filter_map(|placed| placed.key.as_ref()).collect();
        if pointers.is_empty() {
            continue;
        }
        let secrets = match root {
            MountRoot::Cluster => cluster_secrets(node, plan).await,
            MountRoot::Job | MountRoot::Own => open(node, &key::job_secrets(&plan.uid)).await,
        };
        let table = Table::new(node);
        for pointer in pointers {
            let found = secrets.as_ref().map_err(Clone::clone);
            let key = found.and_then(|secrets| table.account_key(secrets, pointer));
            keys.insert(pointer.clone(), key);
        }
    }
    keys
}

/// One secret text of a resource; why not, if it cannot be had. `what` is what it is.
pub(super) async fn text(
    node: &Node,
    store_key: &str,
    pointer: &str,
    what: &str,
) -> Result<SecretText, String> {
    let secrets = open(node, store_key).await?;
    match secrets.get(pointer) {
        Some(SecretValue::Text(text)) => Ok(text.clone()),
        Some(SecretValue::KeyVault(reference)) => Table::new(node)
            .referred(reference)
            .map_err(|reason| format!("{what} is in a key vault, {reason}")),
        None => Err(format!("{what} is not among the secrets of the job")),
    }
}

/// Those of the cluster that the job runs on.
async fn cluster_secrets(node: &Node, plan: &NodePlan) -> Result<Secrets, String> {
    let store = &*node.store;
    let unread = |error: StoreError| format!("the store cannot be read: {}", explain(&error));
    let job = get_json::<JobRecord>(store, &key::job(&plan.job))
        .await
        .map_err(unread)?;
    let job = job.ok_or("the job is not in the store")?.value;
    let cluster = get_json::<ClusterRecord>(store, &key::cluster(&job.cluster)).await;
    let cluster = cluster
        .map_err(unread)?
        .ok_or("its cluster is not in the store")?
        .value;
    open(node, &key::cluster_secrets(&cluster.uid)).await
}

async fn open(node: &Node, store_key: &str) -> Result<Secrets, String> {
    let sealed = get_json::<Sealed>(&*node.store, store_key).await;
    let sealed =
        sealed.map_err(|error| format!("the store cannot be read: {}", explain(&error)))?;
    let sealed = sealed.ok_or("the secrets of the account are not in the store")?;
    let cluster_key = node.config.sealing_key.as_ref();
    let cluster_key = cluster_key.ok_or("this node has no key to open secrets with")?;
    sealed
        .value
        .open(cluster_key, store_key)
        .map_err(|error| explain(&error))
}

/// The operator's table, read when the first reference asks for it.
struct Table<'a> {
    node: &'a Node,
    read: std::cell::OnceCell<Result<SecretTable, String>>,
}

impl<'a> Table<'a> {
    fn new(node: &'a Node) -> Self {
        Self {
            node,
            read: std::cell::OnceCell::new(),
        }
    }

    fn value(
        &self,
        secrets: &Secrets,
        index: usize,
        name: &str,
    ) -> Result<SecretText, ErrorRecord> {
        let failed = |message: String| {
            ErrorRecord::new(SECRET_NOT_AVAILABLE, message).with("variable", name)
        };
        match secrets.get(&variable_pointer(index)) {
            Some(SecretValue::Text(text)) => Ok(text.clone()),
            Some(SecretValue::KeyVault(reference)) => self.referred(reference).map_err(|reason| {
                failed(format!("the secret '{name}' is in a key vault, {reason}"))
            }),
            None => Err(failed(format!(
                "the secret '{name}' is not among those of the job"
            ))),
        }
    }

    fn account_key(&self, secrets: &Secrets, pointer: &str) -> Result<SecretText, String> {
        match secrets.get(pointer) {
            Some(SecretValue::Text(text)) => Ok(text.clone()),
            Some(SecretValue::KeyVault(reference)) => self
                .referred(reference)
                .map_err(|reason| format!("the key of the account is in a key vault, {reason}")),
            None => Err("the key of the account is not among the secrets".to_owned()),
        }
    }

    fn referred(&self, reference: &KeyVaultReference) -> Result<SecretText, String> {
        let Some(path) = &self.node.config.secrets_file else {
            return Err(
                "which this version of Lote cannot ask: list its secretUrl in the daemon's --secrets-file"
                    .into(),
            );
        };
        let read = || SecretTable::read(path).map_err(|error| explain(&error));
        let table = self.read.get_or_init(read);
        let table = table
            .as_ref()
            .map_err(|error| format!("and its table cannot be used: {error}"))?;
        table
            .get(reference)
            .cloned()
            .ok_or_else(|| "and its secretUrl is not in the secrets file of this node".to_owned())
    }
}
