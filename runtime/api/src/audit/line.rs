//! What a line of the audit log says.

use jiff::Timestamp;
use serde::Serialize;

use super::Visit;
use crate::auth::Who;
use crate::auth::guard::Needed;

/// Longer parts of a path are signed links and operation ids, not names.
const SEGMENT_LENGTH_MAX: usize = 90;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    time: Timestamp,
    /// A token's id, `operator`, `open` while there is no token, or nothing.
    who: Option<&'a str>,
    /// What the token is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    /// The id of a token that did not open.
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed: Option<&'a str>,
    remote: Option<&'a str>,
    method: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    permission: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// A file of the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    request_id: &'a str,
}

/// One line, with its end.
pub(super) fn compose(
    time: Timestamp,
    visit: &Visit,
    needed: Option<&Needed>,
    file: Option<&str>,
    status: u16,
    code: Option<&str>,
) -> Vec<u8> {
    let principal = visit.principal.as_ref();
    let (who, name) = match principal.map(|principal| &principal.who) {
        None => (None, None),
        Some(Who::Open) => (Some("open"), None),
        Some(Who::Token { id, name }) => (Some(id.as_str()), Some(name.as_str())),
        Some(Who::Operator { name }) => (Some("operator"), Some(name.as_str())),
    };
    let line = Line {
        time,
        who,
        name,
        role: principal.map(|principal| principal.grant.role.as_str()),
        claimed: visit.claimed.as_deref().filter(|_| who.is_none()),
        remote: visit.remote.as_deref(),
        method: &visit.method,
        path: &visit.path,
        permission: needed.map(|needed| needed.permission.name()),
        target: needed
            .and_then(|needed| needed.target.as_ref())
            .map(ToString::to_string),
        file,
        status,
        code,
        request_id: &visit.request_id,
    };
    let mut text = serde_json::to_vec(&line).unwrap_or_default();
    text.push(b'\n');
    text
}

/// A path without what opens something: parts that are longer than any name, or
/// look like tokens, are left out.
pub(super) fn shown_path(path: &str) -> String {
    let is_secret =
        |part: &str| part.len() > SEGMENT_LENGTH_MAX || part.to_ascii_lowercase().contains("lote_");
    let parts: Vec<&str> = path
        .split('/')
        .map(|part| if is_secret(part) { "-" } else { part })
        .collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_tokens_are_left_out_of_paths() {
        let link = "x".repeat(120);
        for (path, shown) in [
            (
                "/v1/groups/lab/workspaces/ws",
                "/v1/groups/lab/workspaces/ws",
            ),
            (&*format!("/files/{link}/out.txt"), "/files/-/out.txt"),
            (
                &*format!("/v1/operations/{link}/result"),
                "/v1/operations/-/result",
            ),
            ("/v1/tokens/lote_00_secret", "/v1/tokens/-"),
            ("/", "/"),
        ] {
            assert_eq!(shown_path(path), shown);
        }
    }
}
