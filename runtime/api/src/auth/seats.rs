//! Ends open streams whose token was revoked or has expired.
//!
//! An event stream or a followed log can stay open for days. Each takes a seat
//! under its token's id; a task watches the tokens and clears the seats. A
//! revocation takes effect as soon as the store tells of it, an expiry within
//! [`LOOK_EVERY`].

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures_util::StreamExt;
use hyper::body::Body as _;
use jiff::Timestamp;
use lote_model::access::token::{TokenId, TokenRecord, TokenState};
use lote_model::key;
use lote_store::{Event, StoreError, get_json};
use tokio_util::sync::CancellationToken;

use super::principal::{Principal, Who};
use crate::error::ApiError;
use crate::state::ApiState;

/// How often seats are checked for the time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long to wait after the store did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// The seats of one daemon; clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seats(Arc<Mutex<HashMap<TokenId, Row>>>);

/// The streams of one token.
#[derive(Debug)]
struct Row {
    expires_at: Option<Timestamp>,
    ended: CancellationToken,
    count: usize,
}

/// One stream's seat; dropping it leaves.
struct Seat {
    seats: Seats,
    id: TokenId,
    ended: CancellationToken,
}

impl Seats {
    fn rows(&self) -> MutexGuard<'_, HashMap<TokenId, Row>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, record: &TokenRecord) -> Seat {
        let mut rows = self.rows();
        let row = rows.entry(record.id.clone()).or_insert_with(|| Row {
            expires_at: record.expires_at,
            ended: CancellationToken::new(),
            count: 0,
        });
        row.count += 1;
        Seat {
            seats: self.clone(),
            id: record.id.clone(),
            ended: row.ended.clone(),
        }
    }

    fn end(&self, id: &TokenId) {
        // Whoever comes later gets a row of their own, and is checked anew.
        if let Some(row) = self.rows().remove(id) {
            row.ended.cancel();
        }
    }

    fn end_expired(&self, now: Timestamp) {
        self.rows().retain(|_, row| {
            let over = row.expires_at.is_some_and(|end| end <= now);
            if over {
                row.ended.cancel();
            }
            !over
        });
    }

    fn ids(&self) -> Vec<TokenId> {
        self.rows().keys().cloned().collect()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut rows = self.seats.rows();
        let Some(row) = rows.get_mut(&self.id) else {
            return;
        };
        row.count -= 1;
        if row.count == 0 {
            rows.remove(&self.id);
        }
    }
}

/// The same answer, which breaks off when the caller's token is void. Answers of
/// a known length end by themselves.
pub(super) async fn seated(
    state: &ApiState,
    principal: &Principal,
    response: Response,
) -> Response {
    let Who::Token { id, .. } = &principal.who else {
        return response;
    };
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    match seat(state, id).await {
        Ok(seat) => response.map(|body| until_ended(body, seat)),
        Err(error) => axum::response::IntoResponse::into_response(error),
    }
}

/// Takes the seat first and looks at the token then, so that a revocation in
/// between is seen by one of the two.
async fn seat(state: &ApiState, id: &TokenId) -> Result<Seat, ApiError> {
    let void = || super::door::unauthenticated("the token is no longer valid");
    let record =
        |id: TokenId| async move { get_json::<TokenRecord>(state.store(), &key::token(&id)).await };
    let found = record(id.clone()).await?.ok_or_else(void)?;
    let seat = state.door.seats.take(&found.value);
    let found = record(id.clone()).await?.ok_or_else(void)?;
    match found.value.state(state.now()) {
        TokenState::Active => Ok(seat),
        TokenState::Expired | TokenState::Used | TokenState::Revoked => Err(void()),
    }
}

/// Breaks off rather than ends, so that no client takes what it has for all.
fn until_ended(body: Body, seat: Seat) -> Body {
    let start = (body.into_data_stream(), seat);
    Body::from_stream(futures_util::stream::try_unfold(
        start,
        async |(mut stream, seat)| {
            let next = tokio::select! {
                biased;
                () = seat.ended.cancelled() => {
                    return Err(io::Error::other("the token is no longer valid"));
                }
                next = stream.next() => next,
            };
            match next.transpose() {
                Ok(chunk) => Ok(chunk.map(|chunk| (chunk, (stream, seat)))),
                Err(error) => Err(io::Error::other(error)),
            }
        },
    ))
}

/// Clears seats until the server stops.
pub(crate) async fn run(state: ApiState) {
    loop {
        tokio::select! {
            () = state.stopping.cancelled() => return,
            result = follow(&state) => match result {
                Err(StoreError::Closed) => return,
                Err(StoreError::Compacted { .. }) => {}
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the tokens of open streams cannot be watched");
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(never) => match never {},
            },
        }
    }
}

async fn follow(state: &ApiState) -> Result<Infallible, StoreError> {
    let mut watch = state.store().watch(key::TOKENS, 0).await?;
    // What happened before the watch was there.
    for id in state.door.seats.ids() {
        let found = get_json::<TokenRecord>(state.store(), &key::token(&id)).await?;
        if found.is_none_or(|found| is_void(state, &found.value)) {
            state.door.seats.end(&id);
        }
    }
    let mut clock = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            batch = watch.next() => batch?.events.iter().for_each(|event| note(state, event)),
            _ = clock.tick() => state.door.seats.end_expired(state.now()),
        }
    }
}

fn note(state: &ApiState, event: &Event) {
    let void = match event {
        Event::Put(versioned) => serde_json::from_slice(&versioned.value)
            .map_or(true, |record: TokenRecord| is_void(state, &record)),
        Event::Delete { .. } => true,
    };
    let id = event
        .key()
        .strip_prefix(key::TOKENS)
        .and_then(TokenId::parse);
    if let Some(id) = id.filter(|_| void) {
        state.door.seats.end(&id);
    }
}

fn is_void(state: &ApiState, record: &TokenRecord) -> bool {
    record.state(state.now()) != TokenState::Active
}
