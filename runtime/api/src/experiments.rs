//! Experiments: containers of jobs.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use lote_model::key;
use lote_model::path::{IdStyle, WorkspacePath};
use lote_model::workspace::ExperimentRecord;
use lote_store::{Transaction, get_json, list_json};
use serde_json::{Value, json};

use crate::error::Answer;
use crate::operation;
use crate::page::{PageRequest, page_of};
use crate::records::{self, ATTEMPTS_MAX, Kind, contended, provisioning};
use crate::request::{At, AtExperiment, Body, Caller, Parameters};
use crate::state::ApiState;

fn view(record: &ExperimentRecord, style: &IdStyle) -> Value {
    json!({
        "id": record.path.id(style, "experiments"),
        "name": record.path.name,
        "type": "Microsoft.BatchAI/workspaces/experiments",
        "properties": provisioning(record.created_at, record.delete_requested_at),
    })
}

/// There is nothing to say about an experiment, so the body may be empty.
pub(crate) async fn put(
    State(state): State<ApiState>,
    caller: Caller,
    AtExperiment(path): AtExperiment,
    Body(request_body): Body,
) -> Answer {
    lote_model::body::optional_object(&request_body)?;
    let key = key::experiment(&path);
    for _ in 0..ATTEMPTS_MAX {
        if let Some(found) = get_json::<ExperimentRecord>(state.store(), &key).await? {
            if found.value.delete_requested_at.is_some() {
                return Err(Kind::Experiment.being_deleted(&path.name));
            }
            return Ok(Json(view(&found.value, &caller.style)).into_response());
        }
        let workspace = records::lasting_workspace(state.store(), &path.workspace).await?;
        let record = ExperimentRecord {
            path: path.clone(),
            created_at: state.now(),
            delete_requested_at: None,
        };
        let transaction = Transaction::new()
            .require_absent(&key)
            .require_revision(workspace.key, workspace.mod_revision)
            .put_json(&key, &record)?;
        if state.store().commit(transaction).await?.is_applied() {
            return Ok(Json(view(&record, &caller.style)).into_response());
        }
    }
    Err(contended())
}

pub(crate) async fn get(
    State(state): State<ApiState>,
    caller: Caller,
    AtExperiment(path): AtExperiment,
) -> Answer {
    let found = records::experiment(state.store(), &path).await?;
    Ok(Json(view(&found.value, &caller.style)).into_response())
}

pub(crate) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    At(path): At<WorkspacePath>,
    parameters: Parameters,
) -> Answer {
    let request = PageRequest::of(&parameters)?;
    records::workspace(state.store(), &path).await?;
    let prefix = key::experiments_of(&path);
    let listing = list_json::<ExperimentRecord>(state.store(), request.list(&prefix)).await?;
    let values = listing
        .items
        .iter()
        .map(|entry| view(&entry.value, &caller.style))
        .collect();
    Ok(page_of(&caller, &parameters, &prefix, &listing, values))
}

pub(crate) async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
    AtExperiment(path): AtExperiment,
) -> Answer {
    let erase = crate::janitor::erase_empty_experiment(state.store(), &path);
    operation::delete(
        &state,
        &caller,
        key::experiment(&path),
        |record: &mut ExperimentRecord| &mut record.delete_requested_at,
        erase,
    )
    .await
}
