//! The description of the whole HTTP interface: `GET /v1/openapi.json`.
//!
//! * [`describe`] — how one operation is described.
//! * [`parameters`] — what stands in paths and queries.
//! * [`paths`] — the operations, resource by resource.
//! * [`schemas`] — the shapes of bodies.
//! * [`twin`] — the same operation under the other prefix.
//! * [`rules`] — what holds of all bodies, said once.
//! * [`assemble`] — the document made of these.
//!
//! The tests hold it against three things: the routes, the facts of the Batch AI
//! contract, and every answer that any test gets.

mod assemble;
mod describe;
mod parameters;
mod paths;
mod rules;
mod schemas;
mod twin;

use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

/// Made at the first request; it is the same for the life of the program.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| assemble::document().to_string().into());

pub(crate) async fn get() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.clone()).into_response()
}

#[cfg(test)]
mod tests;
