//! Who may do what: tokens, their roles and scopes, and what each request needs.
//!
//! [`may`] is the rule. It is pure: the doors ask it before any handler runs,
//! and handlers ask it again about what only a request's body or a record names.
//!
//! * [`role`] — reader, contributor, admin.
//! * [`scope`] — how far a token reaches, and what a request concerns.
//! * [`permission`] — what can be allowed, under the names of the authorisation catalogue.
//! * [`operations`] — which route and method need which permission.
//! * [`rule`] — whether a token may.
//! * [`token`] — tokens as stored, as asked for, and as text.
//! * [`fingerprint`] — how a certificate is named.

pub mod fingerprint;
pub mod operations;
pub mod permission;
pub mod role;
pub mod rule;
pub mod scope;
pub mod token;

pub use permission::Permission;
pub use role::Role;
pub use rule::{Denied, Grant, may};
pub use scope::{Scope, Target};
