//! Plugins and nodes that do nothing but answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use lote_control::testing::worker;
use lote_model::accounting::Account;
use lote_model::allocation::{Allocation, AllocationPhase};
use lote_model::framework::{
    ChosenPlugin, Frameworks, PlanError, PlannedLaunch, PluginRequest, ValidatedSettings,
};
use lote_model::id::{JobUid, NodeName};
use lote_model::job::FrameworkSettings;
use lote_model::key;
use lote_model::plan::{AllocationInput, JobInput, LaunchPlan};
use lote_model::plan_check;
use lote_model::problem::Problem;
use lote_model::report::{Outcome, Report, ReportPhase};
use lote_store::{Event, Store, Transaction};

/// One process per node.
pub(crate) struct FakeFrameworks;

impl Frameworks for FakeFrameworks {
    fn settings_members(&self) -> Vec<String> {
        vec!["customToolkitSettings".into()]
    }

    fn plugins(&self) -> Vec<lote_model::framework::PluginSummary> {
        Vec::new()
    }

    fn validate(&self, _: &PluginRequest, job: &JobInput) -> Result<ValidatedSettings, Problem> {
        Ok(ValidatedSettings {
            tool_type: "custom".into(),
            settings: job.settings.clone(),
            plugin: ChosenPlugin {
                name: "custom".into(),
                version: "1.0.0".into(),
                digest: "00".into(),
            },
            starts_peers: false,
        })
    }

    fn plan(
        &self,
        _: &FrameworkSettings,
        _: &JobInput,
        allocation: &AllocationInput,
    ) -> Result<PlannedLaunch, PlanError> {
        let processes = allocation
            .nodes
            .iter()
            .map(|node| worker(node.rank))
            .collect();
        let plan = LaunchPlan {
            processes,
            ..LaunchPlan::default()
        };
        let plan = plan_check::check(plan, allocation).expect("a good plan");
        Ok(PlannedLaunch {
            plan,
            plugin: "fake 1".into(),
        })
    }
}

/// Which attempts of which jobs were run, and on which nodes.
pub(crate) type Runs = Arc<Mutex<BTreeMap<(JobUid, u32), BTreeSet<NodeName>>>>;

/// Serves all nodes: prepares, runs and ends whatever is allocated, at once.
pub(crate) async fn serve_nodes(store: Arc<dyn Store>, runs: Runs) {
    let mut watch = store.watch(key::ALLOCATIONS, 1).await.expect("a watch");
    while let Ok(batch) = watch.next().await {
        for event in batch.events {
            let Event::Put(item) = event else { continue };
            let (node, _) = item
                .key
                .strip_prefix(key::ALLOCATIONS)
                .and_then(|key| key.split_once('/'))
                .expect("a key");
            let allocation: Allocation =
                serde_json::from_slice(&item.value).expect("an allocation");
            serve(store.clone(), NodeName::new(node), allocation, &runs);
        }
    }
}

fn serve(store: Arc<dyn Store>, node: NodeName, allocation: Allocation, runs: &Runs) {
    let phases = match allocation.phase {
        AllocationPhase::Prepare => vec![ReportPhase::Prepared],
        AllocationPhase::Run => {
            let attempt = (allocation.uid.clone(), allocation.attempt);
            // A leader that crashed may have written the same just before its successor did.
            if !runs
                .lock()
                .expect("a lock")
                .entry(attempt)
                .or_default()
                .insert(node.clone())
            {
                return;
            }
            vec![ReportPhase::Running, ended(Outcome::Completed)]
        }
        AllocationPhase::Stop => vec![ended(Outcome::Stopped)],
    };
    tokio::spawn(async move {
        for phase in phases {
            report(store.as_ref(), &node, &allocation, phase).await;
        }
    });
}

fn ended(outcome: Outcome) -> ReportPhase {
    ReportPhase::Ended {
        outcome,
        account: Account {
            cpu_seconds: 0.5,
            ..Account::default()
        },
    }
}

async fn report(store: &dyn Store, node: &NodeName, allocation: &Allocation, phase: ReportPhase) {
    let report = Report {
        uid: allocation.uid.clone(),
        node: node.clone(),
        attempt: allocation.attempt,
        rank: allocation.rank,
        phase,
        directories: Vec::new(),
        at: Timestamp::now(),
    };
    let transaction = Transaction::new()
        .put_json(key::report(&allocation.uid, node), &report)
        .expect("JSON");
    store.commit(transaction).await.expect("a commit");
}
