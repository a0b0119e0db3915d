//! `GET /metrics`: figures in Prometheus' text form, of this daemon and its node; of queues and all
//! nodes where this daemon leads.
//!
//! * [`gpus`] — the node's GPUs, under the names of NVIDIA's DCGM exporter.
//! * [`leader`] — queues, nodes, scheduling.
//! * [`requests`] — what this daemon was asked.
//!
//! Everything comes from memory, but for which jobs hold this node's GPUs.

mod gpus;
mod leader;
mod requests;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use lote_model::allocation::Allocation;
use lote_model::key;
use lote_model::node::NodeRecord;
use lote_store::{ListRequest, get_json, list_json};
use prometheus::core::Collector;
use prometheus::{Counter, CounterVec, Encoder, GaugeVec, Opts, Registry, TextEncoder};

pub(crate) use requests::RequestMeter;

use crate::error::{Answer, ApiError};
use crate::state::ApiState;

/// Figures that are made for one answer.
struct Page(Registry);

impl Page {
    fn new() -> Self {
        Self(Registry::new())
    }

    fn add<C: Collector + Clone + 'static>(&self, collector: &C) -> Result<(), prometheus::Error> {
        self.0.register(Box::new(collector.clone()))
    }

    fn gauge(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<GaugeVec, prometheus::Error> {
        let gauge = GaugeVec::new(Opts::new(name, help), labels)?;
        self.add(&gauge)?;
        Ok(gauge)
    }

    fn counter(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<CounterVec, prometheus::Error> {
        let counter = CounterVec::new(Opts::new(name, help), labels)?;
        self.add(&counter)?;
        Ok(counter)
    }
}

/// A figure as Prometheus keeps it.
#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus has no other numbers; exact up to 2^53"
)]
fn number(count: u64) -> f64 {
    count as f64
}

/// Sets a counter that somebody else counts. One that has no more than that yet.
fn count_up(counter: &Counter, value: f64) {
    counter.inc_by(value.max(0.0));
}

pub(crate) async fn get(State(state): State<ApiState>) -> Answer {
    let node = get_json::<NodeRecord>(state.store(), &key::node(&state.config.node)).await?;
    let of_node = ListRequest::prefix(key::allocations_of(&state.config.node));
    let allocations = list_json::<Allocation>(state.store(), of_node).await?;
    let allocations: Vec<Allocation> = allocations
        .items
        .into_iter()
        .map(|entry| entry.value)
        .collect();
    let text = write(&state, node.map(|node| node.value).as_ref(), &allocations)
        .map_err(|error| ApiError::internal(&format!("the figures cannot be written: {error}")))?;
    Ok(([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}

fn write(
    state: &ApiState,
    node: Option<&NodeRecord>,
    allocations: &[Allocation],
) -> Result<Vec<u8>, prometheus::Error> {
    let page = Page::new();
    let about = page.gauge(
        "lote_info",
        "The daemon that answers.",
        &["node", "version"],
    )?;
    about
        .with_label_values(&[state.config.node.as_str(), env!("CARGO_PKG_VERSION")])
        .set(1.0);
    if let Some(node) = node {
        let sample = state.config.telemetry.node();
        gpus::add(&page, node, sample.as_ref(), allocations)?;
    }
    let figures = state.config.telemetry.leader();
    leader::add(&page, figures.as_ref())?;
    state.requests.add(&page)?;
    let mut text = Vec::new();
    TextEncoder::new().encode(&page.0.gather(), &mut text)?;
    Ok(text)
}
