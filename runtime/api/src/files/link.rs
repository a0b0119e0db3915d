//! Signed links: who holds one may read one file until the link expires.
//!
//! A link carries all that is needed to serve it, signed, so it works without
//! login, after a restart of the daemon and after the deletion of the job, whose
//! files stay where the user asked them to be.

use std::io;
use std::path::PathBuf;

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use lote_model::id::{JobUid, NodeName, UnixId};
use percent_encoding::utf8_percent_encode;
use serde::{Deserialize, Serialize};

use super::relative::RelativePath;
use super::{Directory, beneath, blocking, content};
use crate::error::{Answer, ApiError};
use crate::page::ESCAPED;
use crate::peers::{self, Errand};
use crate::request::{Caller, Segments};
use crate::state::ApiState;

/// What the tokens of links are sealed for.
pub(crate) const PURPOSE: &str = "link";

/// What a link lets its holder read. Short names, because it stands in a URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    #[serde(rename = "u")]
    pub(crate) job: JobUid,
    /// The id of the directory.
    #[serde(rename = "i")]
    pub(crate) directory_id: String,
    #[serde(rename = "n")]
    pub(crate) node: NodeName,
    /// Where the directory is on that node.
    #[serde(rename = "d")]
    pub(crate) directory: PathBuf,
    /// What no link on the way to the directory may lead out of.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub(crate) within: Option<PathBuf>,
    #[serde(rename = "f")]
    pub(crate) file: RelativePath,
    /// Whose rights count.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<UnixId>,
    /// Seconds since 1970.
    #[serde(rename = "e")]
    pub(crate) expires: i64,
}

impl Link {
    /// The URL.
    pub(crate) fn url(&self, state: &ApiState, caller: &Caller) -> String {
        let token = state.signer.seal(PURPOSE, self);
        format!(
            "{}/files/{token}/{}",
            caller.base,
            utf8_percent_encode(self.file.file_name(), ESCAPED)
        )
    }
}

/// 501: only the daemon there can read its files, and the two do not talk.
pub(crate) fn elsewhere(node: &NodeName) -> ApiError {
    let message = format!("these files lie on node {node}; ask the daemon of that node");
    ApiError::new(StatusCode::NOT_IMPLEMENTED, "FilesOnOtherNode", message)
}

/// An error of opening, as an answer that says what to do.
pub(crate) fn refused(error: &io::Error, what: &str) -> ApiError {
    if beneath::is_escape(error) {
        let message = format!("{what} leads out of its output directory");
        return ApiError::new(StatusCode::FORBIDDEN, "PathEscapesDirectory", message);
    }
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
            ApiError::not_found("FileNotFound", format!("{what} is not there"))
        }
        io::ErrorKind::PermissionDenied => {
            let message = format!("the job's user may not read {what}");
            ApiError::new(StatusCode::FORBIDDEN, "FileNotReadable", message)
        }
        _ => ApiError::internal(&format!("cannot open {what}: {error}")),
    }
}

fn opened(state: &ApiState, token: &str, name: &str) -> Result<Link, ApiError> {
    let forbidden = |code: &str, message: &str| ApiError::new(StatusCode::FORBIDDEN, code, message);
    let link: Option<Link> = state.signer.open(PURPOSE, token);
    let link = link.filter(|link| link.file.file_name() == name);
    let link = link.ok_or_else(|| {
        forbidden(
            "InvalidLink",
            "this is no download link of this cluster; list the files again",
        )
    })?;
    if state.now().as_second() >= link.expires {
        return Err(forbidden(
            "LinkExpired",
            "the download link has expired; list the files again for a new one",
        ));
    }
    Ok(link)
}

/// `GET /files/{token}/{name}`.
pub(crate) async fn download(
    State(state): State<ApiState>,
    Segments((token, name)): Segments<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Answer {
    let link = opened(&state, &token, &name)?;
    if link.node == state.config.node {
        return send(&state, link, &name, &method, &headers).await;
    }
    let errand = Errand::download(&token, &name, method, &headers);
    peers::ask(&state, &link.node, errand).await
}

/// The same for another daemon: a file of this node only.
pub(crate) async fn download_here(
    State(state): State<ApiState>,
    Segments((token, name)): Segments<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Answer {
    let link = opened(&state, &token, &name)?;
    if link.node != state.config.node {
        return Err(elsewhere(&link.node));
    }
    send(&state, link, &name, &method, &headers).await
}

async fn send(
    state: &ApiState,
    link: Link,
    name: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Answer {
    let directory = Directory {
        path: link.directory,
        within: link.within,
        // Whether rights can be changed is known where the file is.
        owner: link.owner.filter(|_| state.config.read_as_job_user),
    };
    let file = link.file.clone();
    let opened = blocking(move || directory.open_file(&file)).await;
    let file = opened.map_err(|error| refused(&error, &format!("the file '{}'", link.file)))?;
    content::send(file, name, method, headers).await
}

/// When a link made now expires.
pub(crate) fn expiry(now: Timestamp, minutes: u32) -> i64 {
    now.as_second() + i64::from(minutes) * 60
}
