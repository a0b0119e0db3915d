//! `lote usage`.

use super::{Context, Outcome};
use crate::show;

pub(super) fn run(context: &Context<'_>) -> Outcome {
    let action = "list usages";
    let values = context.client.list(action, "/v1/usages")?;
    context.print_list(action, values, show::usage_table)
}
