//! Secrets of jobs and clusters: sealed in the transaction that makes the resource.

use lote_model::problem::explain;
use lote_model::secret::Secrets;
use lote_store::{Transaction, get_json};
use lote_vault::{SealError, Sealed, SealingKey};

use crate::error::ApiError;
use crate::state::ApiState;

fn key(state: &ApiState) -> Result<&SealingKey, ApiError> {
    let key = state.config.sealing_key.as_ref();
    key.ok_or_else(|| {
        let message = "this daemon has no key to seal secrets with; leave them out";
        ApiError::bad_request("SecretsNotAvailable", message)
    })
}

fn failed(error: &SealError) -> ApiError {
    ApiError::internal(&explain(error))
}

/// The same transaction, with the secrets in it if there are any.
pub(crate) fn put(
    state: &ApiState,
    transaction: Transaction,
    store_key: &str,
    secrets: &Secrets,
) -> Result<Transaction, ApiError> {
    if secrets.is_empty() {
        return Ok(transaction);
    }
    let sealed = Sealed::seal(key(state)?, store_key, secrets).map_err(|error| failed(&error))?;
    Ok(transaction.put_json(store_key, &sealed)?)
}

/// Whether each of these secrets is what the store has under `store_key`.
pub(crate) async fn are_stored(
    state: &ApiState,
    store_key: &str,
    secrets: &Secrets,
) -> Result<bool, ApiError> {
    if secrets.is_empty() {
        return Ok(true);
    }
    let Some(sealed) = get_json::<Sealed>(state.store(), store_key).await? else {
        return Ok(false);
    };
    let stored = sealed.value.open(key(state)?, store_key);
    Ok(secrets.are_part_of(&stored.map_err(|error| failed(&error))?))
}
