//! Signed links to output files.

use super::{Described, tagged};
use crate::openapi::parameters::header;

pub(crate) fn all() -> Vec<Described> {
    let types = ["text/plain", "application/octet-stream"];
    tagged(
        "files",
        [Described::get(
            "Files_Download",
            "/files/{token}/{name}",
            "Reads an output file; the link permits it",
        )
        .parameter(header("Range", "Which bytes of it."))
        .parameter(header("If-Range", "All of it, if its ETag is another one."))
        .sends("200", &types, "The file.")
        .sends("206", &types, "The bytes that were asked for.")
        .needs_no_token()],
    )
}
