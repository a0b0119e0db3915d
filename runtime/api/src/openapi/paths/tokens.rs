//! Tokens.

use utoipa::openapi::path::HttpMethod;

use super::{Described, tagged};
use crate::openapi::schemas::token::{LoteToken, LoteTokenCreateParameters, LoteTokenListResult};

pub(crate) fn all() -> Vec<Described> {
    let one = "/v1/tokens/{tokenId}";
    tagged(
        "tokens",
        [
            Described::get("Tokens_List", "/v1/tokens", "Lists the tokens")
                .lists::<LoteTokenListResult>(),
            Described::post(
                "Tokens_Create",
                "/v1/tokens",
                "Makes a token and shows it once",
            )
            .takes::<LoteTokenCreateParameters>()
            .creates::<LoteToken>("The token, with its text."),
            Described::get("Tokens_Get", one, "Reads what a token permits")
                .answers::<LoteToken>("The token, without its text."),
            Described::new(
                HttpMethod::Delete,
                "Tokens_Revoke",
                one,
                "Takes a token back",
            )
            .empty("200", "It is void.")
            .empty("204", "There was none."),
        ],
    )
}
