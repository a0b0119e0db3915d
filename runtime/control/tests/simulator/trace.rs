//! What users want, second by second.

use jiff::SignedDuration;
use lote_control::config::PowerPolicy;
use lote_control::room::Request;
use lote_control::testing::{ClusterBuilder, JobBuilder, NodeBuilder, cluster, job, node};
use lote_model::cluster::{ClusterRecord, ClusterStatus, NodeDeallocationOption, ScaleSettings};
use lote_model::job::JobRecord;
use lote_model::key;
use lote_model::money::Money;
use lote_model::node::{CONTAINERS, Drain};
use lote_model::spending::BudgetPeriod;
use lote_model::state::{ExecutionState, Priority};
use lote_store::{Transaction, Write};

use crate::checks::status;
use crate::machine::Machine;
use crate::random::Random;
use crate::site::{SharedStore, Site};
use crate::storage;

/// One seed in so many is a site of thousands of nodes.
const LARGE_EVERY: u64 = 500;

/// How many ports a job gets on each node.
const PORTS: u16 = 16;

/// What a site consists of.
pub(crate) struct Shape {
    pub(crate) nodes: Vec<NodeBuilder>,
    pub(crate) clusters: Vec<ClusterBuilder>,
    /// The second in which it begins.
    pub(crate) start: i64,
    /// Whether no cluster is of low priority or has a budget.
    is_plain: bool,
    /// When machines are switched off and on.
    pub(crate) power: Option<PowerPolicy>,
    /// Whose jobs there are.
    workspaces: &'static [&'static str],
    jobs: usize,
    /// Which jobs run in containers.
    containers: Random,
}

/// The shape of the site of a seed.
pub(crate) fn shape(seed: u64, random: &mut Random) -> Shape {
    let is_large = seed % LARGE_EVERY == LARGE_EVERY - 1;
    let (nodes, jobs) = if is_large {
        (2_000, 600)
    } else {
        (random.between(2, 16), random.between(10, 60))
    };
    let mut equipment = Random::new(seed);
    // Of its own, so that everything else stays as it is.
    let mut containers = Random::new(!seed);
    let some_run_no_containers = containers.once_in(2);
    let nodes = (0..nodes).map(|number| {
        let gpus = [0, 1, 4, 8][random.index(4)];
        let cores = [4, 8, 16][random.index(3)];
        let mut node = node(&format!("n{number:04}")).gpus(gpus).cores(cores);
        storage::equip(&mut node.0, &mut equipment);
        if some_run_no_containers && containers.once_in(3) {
            node
        } else {
            node.offering(CONTAINERS)
        }
    });
    let nodes: Vec<NodeBuilder> = nodes.collect();
    let count = u32::try_from(nodes.len()).unwrap();
    let mut clusters = vec![
        cluster("c").auto(0, count),
        cluster("d").manual(count.div_ceil(3)),
        cluster("e").auto(0, count.div_ceil(2)),
    ];
    let is_plain = random.once_in(2);
    if !is_plain {
        let low = cluster("low").low_priority();
        clusters.push(if random.once_in(2) {
            low.auto(0, count)
        } else {
            low.manual(count.div_ceil(3))
        });
        clusters.push(with_budget(&cluster("paid").auto(0, count), random));
    }
    Shape {
        clusters,
        is_plain,
        power: (!is_large && random.once_in(3)).then(|| power(random)),
        workspaces: if random.once_in(2) {
            &["ws"]
        } else {
            &["ws", "lab", "vision"]
        },
        start: if random.once_in(2) {
            1_000
        } else {
            // A new day begins while things go wrong, or while they are put right.
            86_400 - random.between(50, 500)
        },
        jobs: usize::try_from(jobs).unwrap(),
        containers,
        nodes,
    }
}

/// Machines are switched off soon, and take their time.
fn power(random: &mut Random) -> PowerPolicy {
    PowerPolicy {
        off_after: Some(SignedDuration::from_secs(random.between(20, 90))),
        keep_powered: random.index(2),
        on_within: SignedDuration::from_secs(90),
        off_within: SignedDuration::from_secs(40),
        ..PowerPolicy::default()
    }
}

/// What a node of the cluster with a budget costs in a second.
pub(crate) const PRICE_PER_NODE_SECOND: Money = Money::from_millionths(1_000_000);

/// A budget that may last for long, for a while, or not at all.
fn with_budget(cluster: &ClusterBuilder, random: &mut Random) -> ClusterBuilder {
    let seconds = [0, 900, 3_000, 20_000][random.index(4)] + random.below(700);
    let period = [BudgetPeriod::Day, BudgetPeriod::Total][random.index(2)];
    budgeted(cluster, seconds, period)
}

fn budgeted(cluster: &ClusterBuilder, node_seconds: u64, period: BudgetPeriod) -> ClusterBuilder {
    let price = PRICE_PER_NODE_SECOND.millionths();
    let hour = Money::from_millionths(price * 3_600);
    let amount = Money::from_millionths(price * node_seconds);
    cluster.clone().price(hour).budget(amount, period)
}

/// Jobs that are still to be submitted.
#[derive(Debug)]
pub(crate) struct Trace {
    coming: Vec<JobBuilder>,
    nodes: u32,
}

impl Trace {
    pub(crate) fn new(shape: &Shape, random: &mut Random) -> Self {
        let nodes = u32::try_from(shape.nodes.len()).unwrap();
        let mut containers = shape.containers.clone();
        let coming = (0..shape.jobs).map(|number| {
            let job = realistic_job(number, nodes, shape, random);
            if containers.once_in(3) {
                job.in_container()
            } else {
                job
            }
        });
        Self {
            coming: coming.collect(),
            nodes,
        }
    }

    pub(crate) fn put_cluster(store: &mut SharedStore, cluster: &ClusterBuilder) {
        let write = Write::put_json(key::cluster(&cluster.0.path), &cluster.0).unwrap();
        store.commit(&Transaction::new().write(write));
    }
}

/// Most jobs are small and short, some are gangs, few are long, as in the logs of real sites.
fn realistic_job(number: usize, nodes: u32, shape: &Shape, random: &mut Random) -> JobBuilder {
    let is_plain = shape.is_plain;
    let workspace = shape.workspaces[random.index(shape.workspaces.len())];
    let gang = match random.below(10) {
        0 => nodes.min(2 + u32::try_from(random.below(6)).unwrap()),
        1 | 2 => 2.min(nodes),
        _ => 1,
    };
    let limit = match random.below(5) {
        0 => 2_000,
        1 => 40,
        _ => 120,
    };
    let mut job = job(&format!("j{number}"))
        .of_workspace(workspace)
        .nodes(gang)
        .attempts(50)
        .limit_seconds(limit);
    if random.below(3) > 0 {
        let gpus = u32::try_from(random.below(3)).unwrap();
        job = job.share(gpus, [0.5, 1.0, 3.0][random.index(3)], None);
    }
    job = job.priority(
        [
            Priority::Low,
            Priority::Normal,
            Priority::Normal,
            Priority::High,
        ][random.index(4)],
    );
    match random.below(8) {
        0 | 1 => job.on("d"),
        2 if !is_plain => job.on("low"),
        3 if !is_plain => job.on("paid"),
        2..=4 => job.on("e"),
        _ => job,
    }
}

/// What users do in one second.
pub(crate) fn step(site: &mut Site) {
    let burst = match site.random.below(6) {
        0 => site.random.index(5),
        1 => 1,
        _ => 0,
    };
    for _ in 0..burst {
        submit(site);
    }
    if site.random.once_in(25) && !site.jobs.is_empty() {
        let index = site.random.index(site.jobs.len());
        let record = site.jobs.values().nth(index).unwrap().clone();
        let deletes = site.random.once_in(3);
        let now = site.time();
        change(site, &record, |record| {
            if deletes {
                record.delete_requested_at = Some(now);
            } else {
                record.terminate_requested_at = Some(now);
            }
        });
    }
    if site.random.once_in(40) {
        resize(site);
    }
    if site.random.once_in(30) {
        drain_or_resume(site);
    }
    if site.random.once_in(60) {
        change_budget(site);
    }
}

fn submit(site: &mut Site) {
    let Some(mut job) = site.trace().coming.pop() else {
        return;
    };
    job.0.created_at = site.time();
    if let Some(name) = site.storage().mounted_by_next_job() {
        job = job.mounts(name);
    }
    let write = Write::put_json(key::job(&job.0.path), &job.0).unwrap();
    site.store.commit(&Transaction::new().write(write));
    site.jobs.insert(job.0.uid.clone(), job.0);
}

fn change(site: &mut Site, record: &JobRecord, change: impl FnOnce(&mut JobRecord)) {
    let key = key::job(&record.path);
    let Some(mut current) = site.store.ledger.get::<JobRecord>(&key) else {
        return;
    };
    change(&mut current);
    let write = Write::put_json(key, &current).unwrap();
    site.store.commit(&Transaction::new().write(write));
}

fn resize(site: &mut Site) {
    let nodes = site.trace().nodes;
    let count = u32::try_from(site.random.below(u64::from(nodes))).unwrap() + 1;
    let options = [
        NodeDeallocationOption::Requeue,
        NodeDeallocationOption::WaitForJobCompletion,
        NodeDeallocationOption::Terminate,
    ];
    let option = options[site.random.index(options.len())];
    let cluster = cluster("d").shrinking(count, option);
    let write = Write::put_json(key::cluster(&cluster.0.path), &cluster.0).unwrap();
    site.store.commit(&Transaction::new().write(write));
}

/// The operator changes what the paid cluster may cost, or how it scales.
fn change_budget(site: &mut Site) {
    let nodes = site.trace().nodes;
    let Some(record) = paid_cluster(site) else {
        return;
    };
    let builder = ClusterBuilder(record);
    let builder = match site.random.below(4) {
        0 => builder.manual(1 + u32::try_from(site.random.below(u64::from(nodes))).unwrap()),
        1 => builder.auto(0, nodes),
        _ => {
            let period = builder.0.properties.lote.period();
            let seconds = [0, 100, 2_000, 20_000][site.random.index(4)];
            budgeted(&builder, seconds, period)
        }
    };
    Trace::put_cluster(&mut site.store, &builder);
}

fn paid_cluster(site: &Site) -> Option<ClusterRecord> {
    let key = key::cluster(&cluster("paid").path());
    site.store.ledger.get(&key)
}

/// There is money for everything that is left.
pub(crate) fn raise_budget(site: &mut Site) {
    let nodes = site.trace().nodes;
    let Some(record) = paid_cluster(site) else {
        return;
    };
    let period = record.properties.lote.period();
    let cluster = budgeted(&ClusterBuilder(record).auto(0, nodes), 100_000_000, period);
    Trace::put_cluster(&mut site.store, &cluster);
}

fn drain_or_resume(site: &mut Site) {
    let index = site.random.index(site.machines.len());
    let key = key::drain(site.machines[index].name());
    let transaction = if site.store.ledger.get::<Drain>(&key).is_some() {
        Transaction::new().delete(key)
    } else {
        let drain = Drain {
            reason: None,
            requested_at: site.time(),
        };
        Transaction::new().write(Write::put_json(key, &drain).unwrap())
    };
    site.store.commit(&transaction);
}

/// No job has waited all the time though there is a place for it: those that do ask for more than
/// there is.
pub(crate) fn assert_nothing_starves(site: &Site) {
    let nodes_of = |name: &str| {
        let path = cluster(name).path();
        let status: Option<ClusterStatus> = site.store.ledger.get(&key::cluster_status(&path));
        status.unwrap_or_default().nodes
    };
    let waits = |record: &&JobRecord| {
        let current: Option<JobRecord> = site.store.ledger.get(&key::job(&record.path));
        let is_wanted = current.is_some_and(|it| {
            it.terminate_requested_at.is_none() && it.delete_requested_at.is_none()
        });
        is_wanted
            && status(&site.store.ledger, record)
                .is_none_or(|status| status.state == ExecutionState::Queued)
    };
    for record in site.jobs.values().filter(waits) {
        let request = Request::of(&record.properties, &record.framework);
        let wanted: ClusterRecord = site
            .store
            .ledger
            .get(&key::cluster(&record.cluster))
            .unwrap();
        let is_fixed = matches!(
            wanted.properties.scale_settings,
            ScaleSettings::Manual { .. }
        );
        // Nodes of low priority are given up for others; those of 'd' are not.
        let kept = nodes_of(if is_fixed {
            record.cluster.name.as_str()
        } else {
            "d"
        });
        let can_hold = |machine: &&Machine| {
            let is_drained = site
                .store
                .ledger
                .get::<Drain>(&key::drain(machine.name()))
                .is_some();
            let is_member = kept.contains(machine.name());
            !is_drained
                && is_member == is_fixed
                && request.is_possible_on(&machine.builder.0, PORTS)
        };
        let able = site.machines.iter().filter(can_hold).count();
        let count = request.node_count as usize;
        let most = match record.cluster.name.as_str() {
            "e" => site.machines.len().div_ceil(2),
            _ => usize::MAX,
        };
        let why = status(&site.store.ledger, record).and_then(|status| status.waiting);
        // That may be for a node that can serve files, and there is none.
        if why
            .as_ref()
            .is_some_and(|why| why.starts_with("waits for file server"))
        {
            continue;
        }
        assert!(
            able < count || most < count,
            "{} waits for {count} nodes of '{}', and {able} could hold it: {}",
            record.uid,
            record.cluster.name,
            why.unwrap_or_default()
        );
    }
}

/// The users give up on what waits, and the operator puts drained machines back.
pub(crate) fn terminate_waiting(site: &mut Site) {
    let now = site.time();
    let waiting: Vec<JobRecord> = site
        .jobs
        .values()
        .filter(|record| {
            status(&site.store.ledger, record)
                .is_none_or(|status| status.state == ExecutionState::Queued)
        })
        .cloned()
        .collect();
    for record in waiting {
        change(site, &record, |record| {
            record.terminate_requested_at = Some(now);
        });
    }
}
