//! Who asks.

use std::fmt;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use lote_model::access::token::{TokenId, TokenRecord};
use lote_model::access::{Denied, Grant, Permission, Role, Scope, Target, may};
use lote_model::path::WorkspacePath;

use crate::error::ApiError;

/// Whom a request comes from, and what they may. Every request that is not
/// public has one in its extensions.
#[derive(Clone, Debug)]
pub(crate) struct Principal {
    /// Who.
    pub(crate) who: Who,
    /// What they may.
    pub(crate) grant: Grant,
}

/// The kinds of callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Anybody, while no token exists.
    Open,
    /// A token of the store.
    Token {
        /// Its id.
        id: TokenId,
        /// What its maker calls it.
        name: String,
    },
    /// A token of the operator's file.
    Operator {
        /// The name in the file.
        name: String,
    },
}

impl Principal {
    /// Anybody, while no token exists.
    pub(crate) fn open() -> Self {
        Self {
            who: Who::Open,
            grant: Grant::ALL,
        }
    }

    /// A token of the operator's file.
    pub(crate) fn operator(name: &str) -> Self {
        Self {
            who: Who::Operator {
                name: name.to_owned(),
            },
            grant: Grant::ALL,
        }
    }

    /// The owner of a stored token.
    pub(crate) fn of(record: &TokenRecord) -> Self {
        Self {
            who: Who::Token {
                id: record.id.clone(),
                name: record.name.clone(),
            },
            grant: record.grant(),
        }
    }

    /// Whether no token was asked for.
    pub(crate) fn is_open(&self) -> bool {
        self.who == Who::Open
    }

    /// How far the caller reaches; lists show no more.
    pub(crate) fn scope(&self) -> &Scope {
        &self.grant.scope
    }

    /// 403 unless the caller may.
    pub(crate) fn require(&self, permission: Permission, target: &Target) -> Result<(), ApiError> {
        may(&self.grant, permission, target).map_err(|denied| forbidden(&denied))
    }

    /// 403 unless the caller may in a workspace that a body names at `pointer`.
    pub(crate) fn require_in(
        &self,
        permission: Permission,
        workspace: &WorkspacePath,
        pointer: &str,
    ) -> Result<(), ApiError> {
        self.require(permission, &Target::Workspace(workspace.clone()))
            .map_err(|error| error.at(pointer))
    }
}

/// 403: why, and who may.
fn forbidden(denied: &Denied) -> ApiError {
    let who = match denied {
        Denied::Role {
            needs: Role::Node, ..
        } => "make a token for it with `lote token create --node`".to_owned(),
        Denied::Role { needs, .. } => {
            let enough = Role::ALL.iter().filter(|role| *role >= needs);
            let names: Vec<&str> = enough.map(|role| role.as_str()).collect();
            format!("use a token with the role {}", names.join(" or "))
        }
        Denied::Scope { .. } => "use a token with a wider scope".to_owned(),
    };
    ApiError::new(
        StatusCode::FORBIDDEN,
        "AuthorizationFailed",
        format!("{denied}; {who}"),
    )
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::Token { id, name } if name.is_empty() => write!(f, "{id}"),
            Self::Token { id, name } => write!(f, "{id} ({name})"),
            Self::Operator { name } => write!(f, "operator ({name})"),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let found = parts.extensions.get::<Principal>().cloned();
        found.ok_or_else(|| ApiError::internal(&"a request without its principal"))
    }
}
