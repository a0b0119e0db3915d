//! The secret variables of a job: opened for its own allocation, kept in memory,
//! handed on through the spawner's socket, written nowhere.

use lote_model::allocation::NodePlan;
use lote_model::job::ErrorRecord;
use lote_model::key;
use lote_model::problem::explain;
use lote_model::secret::{KeyVaultReference, SecretText, SecretValue, Secrets, redacted};
use lote_model::secret_members::variable_pointer;
use lote_store::{StoreError, get_json};
use lote_vault::{Sealed, SecretTable};

use super::Node;

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
