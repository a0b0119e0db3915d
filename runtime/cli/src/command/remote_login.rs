//! `lote cluster nodes`, `lote job nodes`: where to log in.

use super::{Context, Outcome};
use crate::show;

/// The nodes of what stands at a path.
pub(super) fn run(context: &Context<'_>, what: &str, path: &str) -> Outcome {
    let action = format!("list the nodes of {what}");
    let path = format!("{path}/listRemoteLoginInformation");
    let values = context.client.list_by_post(&action, &path)?;
    context.print_list(&action, values, show::login_table)
}
