//! What belongs to no workspace.

use super::{Described, SUBSCRIPTION, tagged};
use crate::openapi::schemas::catalogue::OperationListResult;
use crate::openapi::schemas::usage::ListUsagesResult;

pub(crate) fn all() -> Vec<Described> {
    tagged(
        "subscription",
        [
            Described::get(
                "Operations_List",
                "/providers/Microsoft.BatchAI/operations",
                "Lists what can be permitted",
            )
            .lists_all::<OperationListResult>(),
            Described::get(
                "Usages_List",
                format!("{SUBSCRIPTION}/locations/{{location}}/usages"),
                "Lists what is limited, and how much of it is taken",
            )
            .lists_all::<ListUsagesResult>(),
        ],
    )
}
