//! Tokens.

use utoipa::ToSchema;

/// A token: what its holder may do. The text of it is not kept.
#[derive(ToSchema)]
pub(crate) struct LoteToken {
    /// Its path.
    id: String,
    /// Its public part.
    name: String,
    /// The kind of the resource.
    #[schema(rename = "type")]
    kind: String,
    /// What it permits, and whether it still does.
    properties: LoteTokenProperties,
}

/// What a token permits, and whether it still does.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteTokenProperties {
    /// What its maker calls it.
    display_name: String,
    /// What its holder may do.
    role: LoteRole,
    /// Where; everywhere when absent.
    scope: Option<LoteScope>,
    /// Whether it can be used.
    state: LoteTokenState,
    /// The last characters of its text, so that people find the right one.
    last_four: String,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// By whom.
    created_by: String,
    /// How often it can still be used, if that is limited.
    uses_left: Option<i32>,
    /// From when on it is void.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// When it was revoked.
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
    /// Its text; in the answer that makes it, and never again.
    token: Option<String>,
}

/// A token to be made.
#[derive(ToSchema)]
pub(crate) struct LoteTokenCreateParameters {
    /// What is asked for.
    properties: LoteTokenRequest,
}

/// What is asked for of a token.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteTokenRequest {
    /// What to call it.
    #[schema(max_length = 100)]
    display_name: Option<String>,
    /// What its holder may do. The first token must be an administrator's.
    role: LoteRole,
    /// Where; everywhere when absent.
    scope: Option<LoteScope>,
    /// How long it lasts, as `P30D`, at most ten years. When absent a `node`'s lasts a day, others for ever.
    #[schema(format = Duration)]
    expires_in: Option<String>,
    /// How often it can be used; for the role `node` only, and without a limit when absent.
    #[schema(minimum = 1, maximum = 10000)]
    uses: Option<i32>,
}

/// A group, or one workspace of it.
#[derive(ToSchema)]
pub(crate) struct LoteScope {
    /// The group.
    #[schema(
        pattern = r"^[-A-Za-z0-9_.]*[-A-Za-z0-9_][-A-Za-z0-9_.]*$",
        max_length = 90
    )]
    group: String,
    /// The workspace.
    #[schema(pattern = r"^[-A-Za-z0-9_]+$", max_length = 64)]
    workspace: Option<String>,
}

/// A `node` lets machines join the cluster and does nothing else. Of the others each may what the one before it may:
/// read; change; administer.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum LoteRole {
    Node,
    Reader,
    Contributor,
    Admin,
}

/// Whether a token can be used.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum LoteTokenState {
    Active,
    Expired,
    Used,
    Revoked,
}

/// One page of tokens.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteTokenListResult {
    /// The tokens within the caller's own scope.
    value: Vec<LoteToken>,
    /// The whole URL of the next page, if there is one.
    next_link: Option<String>,
}
