//! `lote usage` and `lote quota`.

use super::{Context, Outcome};
use crate::args::UsageArgs;
use crate::{place, show};

/// What workspaces have used, by day.
pub(super) fn by_day(context: &Context<'_>, args: &UsageArgs) -> Outcome {
    let action = "list what was used";
    let mut query = Vec::new();
    query.extend(args.from.as_deref().map(|day| ("from", day)));
    query.extend(args.to.as_deref().map(|day| ("to", day)));
    let path = place::with_query("/v1/usage", &query);
    let values = context.client.list(action, &path)?;
    context.print_list(action, values, show::daily_usage_table)
}

/// What quotas and machines limit.
pub(super) fn quotas(context: &Context<'_>) -> Outcome {
    let action = "list usages";
    let values = context.client.list(action, "/v1/usages")?;
    context.print_list(action, values, show::quota_table)
}
