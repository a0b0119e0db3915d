//! Queues, nodes and scheduling, from the daemon that leads.

use lote_model::leader::LeaderFigures;
use prometheus::Error;

use super::{Page, count_up, number};

pub(super) fn add(page: &Page, figures: Option<&LeaderFigures>) -> Result<(), Error> {
    let leads = page.gauge("lote_leader", "1 for the daemon that leads.", &[])?;
    let empty: [&str; 0] = [];
    leads
        .with_label_values(&empty)
        .set(f64::from(u8::from(figures.is_some())));
    let Some(figures) = figures else {
        return Ok(());
    };
    jobs(page, figures)?;
    machines(page, figures)?;
    let count = page.counter(
        "lote_scheduler_passes_total",
        "Passes over all jobs and nodes since this daemon leads.",
        &[],
    )?;
    count_up(&count.with_label_values(&empty), number(figures.passes));
    let time = page.counter(
        "lote_scheduler_pass_seconds_total",
        "Time that passes took together.",
        &[],
    )?;
    count_up(&time.with_label_values(&empty), figures.pass_seconds);
    let longest = page.gauge(
        "lote_scheduler_pass_seconds_max",
        "The longest pass of the last second or so.",
        &[],
    )?;
    longest
        .with_label_values(&empty)
        .set(figures.pass_seconds_max);
    let actions = page.gauge(
        "lote_scheduler_actions",
        "What was decided and is not done yet.",
        &[],
    )?;
    actions
        .with_label_values(&empty)
        .set(number(figures.actions_under_way));
    Ok(())
}

fn jobs(page: &Page, figures: &LeaderFigures) -> Result<(), Error> {
    let queued = page.gauge("lote_jobs_queued", "Jobs that wait.", &["cluster"])?;
    for (cluster, count) in &figures.jobs_queued {
        queued.with_label_values(&[cluster]).set(number(*count));
    }
    let running = page.gauge("lote_jobs_running", "Jobs that hold nodes.", &["workspace"])?;
    for (workspace, count) in &figures.jobs_running {
        running.with_label_values(&[workspace]).set(number(*count));
    }
    Ok(())
}

fn machines(page: &Page, figures: &LeaderFigures) -> Result<(), Error> {
    let nodes = page.gauge("lote_nodes", "Nodes by what they can do.", &["state"])?;
    let counts = &figures.nodes;
    for (state, count) in [
        ("busy", counts.busy),
        ("idle", counts.idle),
        ("drained", counts.drained),
        ("unwell", counts.unwell),
        ("absent", counts.absent),
    ] {
        nodes.with_label_values(&[state]).set(number(count));
    }
    let gpus = page.gauge("lote_gpus", "GPUs of nodes that live.", &["state"])?;
    for (state, count) in [
        ("held", figures.gpus.held),
        ("free", figures.gpus.free),
        ("out_of_service", figures.gpus.out_of_service),
    ] {
        gpus.with_label_values(&[state]).set(number(count));
    }
    Ok(())
}
