//! Long-running operations.

use super::{Described, SUBSCRIPTION, tagged};
use crate::openapi::schemas::operation::LoteOperation;

pub(crate) fn all() -> Vec<Described> {
    let at = |kind: &str| format!("{SUBSCRIPTION}/locations/{{location}}/{kind}/{{operationId}}");
    tagged(
        "operations",
        [
            Described::get(
                "LongRunning_Status",
                at("operationresults"),
                "Says how far an operation is",
            )
            .answers::<LoteOperation>("How far it is."),
            Described::get(
                "LongRunning_Result",
                at("operationstatuses"),
                "Waits for the end of an operation",
            )
            .empty("200", "It is done.")
            .accepted(),
        ],
    )
}
