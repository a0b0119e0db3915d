//! Who may enter: authentication and authorisation of every request.
//!
//! `front` calls [`authenticate`] before anything else looks at a request. It
//! finds out who asks and leaves a [`Principal`] in the request's extensions.
//! [`guard::guard`] stands around every route: it looks up what the route needs
//! (`lote_model::access::operations`) and asks the model's rule. What only the
//! body or a record names, handlers check with [`Principal::require`].
//!
//! * [`principal`] — who asks.
//! * [`bearer`] — the token in a request's head.
//! * [`door`] — authentication.
//! * [`guard`] — authorisation, around every route.
//! * [`secret`] — making tokens, and comparing them.
//! * [`operator`] — tokens from the operator's file.
//! * [`seats`] — ends open streams whose token was revoked or has expired.
//!
//! Invariants: a route without a row in the model's table is refused to
//! everybody; no secret is stored, logged or compared byte by byte.

mod bearer;
mod door;
pub(crate) mod guard;
mod operator;
mod principal;
pub(crate) mod seats;
pub(crate) mod secret;

#[cfg(test)]
mod tests;

pub(crate) use bearer::claimed;
pub(crate) use door::{Door, accepts, authenticate, unauthenticated};
pub use operator::{OperatorTokens, OperatorTokensError};
pub(crate) use principal::{Principal, Who};
