//! Usages: how much of what is limited is taken.

use utoipa::ToSchema;

/// How much of one thing is taken, and how much there may be.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct Usage {
    /// What is counted.
    #[schema(read_only)]
    unit: Option<UsageUnit>,
    /// How many there are.
    #[schema(read_only)]
    current_value: Option<i32>,
    /// How many there may be.
    #[schema(read_only)]
    limit: Option<i64>,
    /// The name of the thing.
    #[schema(read_only)]
    name: Option<UsageName>,
}

/// What is counted.
#[derive(ToSchema)]
pub(crate) enum UsageUnit {
    Count,
}

/// The name of a thing that is counted.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct UsageName {
    /// For programs.
    #[schema(read_only)]
    value: Option<String>,
    /// For people.
    #[schema(read_only)]
    localized_value: Option<String>,
}

/// One page of usages.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ListUsagesResult {
    /// The usages.
    #[schema(read_only)]
    value: Option<Vec<Usage>>,
    /// The whole URL of the next page, if there is one.
    #[schema(read_only)]
    next_link: Option<String>,
}
