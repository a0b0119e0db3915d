//! Carrying out one action.

use std::sync::Arc;

use jiff::Timestamp;
use lote_model::framework::{PlanError, PlannedLaunch};
use lote_model::job::ErrorRecord;
use lote_store::{Commit, Revision, Store, StoreError, Transaction};

use super::election::Mandate;
use super::{BACK_OFF_FIRST, BACK_OFF_MAX, Tools, power};
use crate::actions::{Action, Change, Start, Subject};
use crate::launch;
use crate::snapshot::Refusal;

/// What came of an action.
pub(super) struct Outcome {
    pub(super) subject: Subject,
    /// A snapshot at this revision shows everything that it changed, or what kept it from it.
    pub(super) revision: Revision,
    /// Why a job was not started.
    pub(super) refusal: Option<Refusal>,
    /// Why a machine was not switched.
    pub(super) unswitched: Option<String>,
}

pub(super) async fn act(tools: Tools, mandate: Arc<Mandate>, action: Action) -> Outcome {
    let store = tools.store.as_ref();
    let subject = action.subject();
    let mut unswitched = None;
    let result = match action {
        Action::Change(Change {
            transactions, what, ..
        }) => {
            tracing::debug!(?subject, what, "decided");
            commit_all(store, &mandate, transactions)
                .await
                .map_err(Obstacle::Store)
        }
        Action::Start(start) => begin(&tools, &mandate, start).await,
        Action::Power(step) => match power::act(&tools, &mandate, step).await {
            Ok((revision, why)) => {
                unswitched = why;
                Ok(revision)
            }
            Err(error) => Err(Obstacle::Store(error)),
        },
    };
    let (revision, refusal) = match result {
        Ok(revision) => (revision, None),
        Err(Obstacle::Refused(refusal)) => (0, Some(refusal)),
        Err(Obstacle::Store(error)) => {
            tracing::warn!(?subject, %error, "the leader could not write a decision and will decide again");
            (revision_after_failure(store).await, None)
        }
    };
    Outcome {
        subject,
        revision,
        refusal,
        unswitched,
    }
}

/// What kept an action from its end.
enum Obstacle {
    Refused(Refusal),
    Store(StoreError),
}

async fn begin(tools: &Tools, mandate: &Mandate, start: Start) -> Result<Revision, Obstacle> {
    let start = Arc::new(start);
    let planned = plan(tools, start.clone())
        .await
        .map_err(Obstacle::Refused)?;
    let failed =
        |error: StoreError| Obstacle::Refused(Refusal::Failed(cannot_store(&start, &error)));
    let transactions = launch::transactions(&start, &planned, Timestamp::now()).map_err(failed)?;
    for transaction in &transactions {
        transaction.validate().map_err(failed)?;
    }
    tracing::debug!(job = %start.record.path, attempt = start.attempt, nodes = start.nodes.len(), "start");
    commit_all(tools.store.as_ref(), mandate, transactions)
        .await
        .map_err(Obstacle::Store)
}

fn cannot_store(start: &Start, error: &StoreError) -> ErrorRecord {
    let message = format!(
        "the launch plan of job '{}' cannot be stored: {error}",
        start.record.path.job
    );
    ErrorRecord::new("PlanNotStorable", message)
}

/// Asks the plugin, in a thread where it may take its time.
async fn plan(tools: &Tools, start: Arc<Start>) -> Result<PlannedLaunch, Refusal> {
    let _turn = tools.planners.acquire().await;
    let frameworks = tools.frameworks.clone();
    let names: Vec<_> = start.node_names().cloned().collect();
    let call = move || {
        frameworks.plan(
            &start.record.framework,
            &launch::job_input(&start),
            &launch::allocation_input(&start),
        )
    };
    match tokio::task::spawn_blocking(call).await {
        Ok(Ok(planned)) => Ok(planned),
        Ok(Err(PlanError::Failed(error))) => Err(Refusal::Failed(error)),
        Ok(Err(PlanError::Unsuitable(error))) => Err(Refusal::Unsuitable {
            nodes: names,
            error,
        }),
        Err(error) => Err(Refusal::Failed(ErrorRecord::new(
            "PluginHostFailed",
            format!(
                "the call of the framework's plugin broke off ({error}): report this, it is a defect of Lote"
            ),
        ))),
    }
}

/// Commits in order, as long as this daemon leads. After a conflict the rest is left out; the
/// snapshot will see what is new.
async fn commit_all(
    store: &dyn Store,
    mandate: &Mandate,
    transactions: Vec<Transaction>,
) -> Result<Revision, StoreError> {
    let mut newest = 0;
    for transaction in transactions {
        if !mandate.holds() {
            return Ok(newest);
        }
        match store.commit(mandate.fence(transaction)).await? {
            Commit::Applied { revision } => newest = revision,
            Commit::Conflict { revision } => {
                tracing::debug!(revision, "a decision was overtaken");
                mandate.check(store).await;
                return Ok(revision);
            }
        }
    }
    Ok(newest)
}

/// Waits until the store answers again. Whatever became of the failed change is visible at the
/// revision that it tells.
async fn revision_after_failure(store: &dyn Store) -> Revision {
    let mut pause = BACK_OFF_FIRST;
    loop {
        tokio::time::sleep(pause).await;
        match store.revision().await {
            Ok(revision) => return revision,
            Err(StoreError::Closed) => return 0,
            Err(_) => pause = (pause * 2).min(BACK_OFF_MAX),
        }
    }
}
