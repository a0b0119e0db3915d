//! The bytes of an open file as an answer: ranges, validators, digests.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName,
    IF_RANGE, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use lote_model::transfer::{CHUNK_BYTES, Digest, content_digest};
use sha2::{Digest as _, Sha256};

use super::blocking;
use super::range::{Selection, select};
use super::stream::file_body;
use crate::error::{Answer, ApiError};

/// The digest of what a message carries (RFC 9530).
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// How much is read at once to be summed up.
const PIECE_BYTES: usize = 256 * 1024;

/// What changes whenever a file does: its time, size and identity.
pub(crate) fn etag(modified: (i64, i64), size: u64, inode: u64) -> String {
    let (seconds, nanoseconds) = modified;
    format!("\"{seconds:x}.{nanoseconds:x}-{size:x}-{inode:x}\"")
}

fn etag_of(metadata: &Metadata) -> String {
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    etag(modified, metadata.len(), metadata.ino())
}

/// Answers GET and HEAD for a file. What is short enough is sent with its digest.
pub(crate) async fn send(file: File, name: &str, method: &Method, headers: &HeaderMap) -> Answer {
    let metadata = file
        .metadata()
        .map_err(|error| ApiError::internal(&error))?;
    let (length, etag) = (metadata.len(), etag_of(&metadata));
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    // A range of a file that has changed since is none (RFC 9110 §13.1.5).
    let same = !headers.contains_key(IF_RANGE) || text(IF_RANGE) == Some(etag.as_str());
    let (status, first, count) = match select(text(RANGE).filter(|_| same), length) {
        Selection::Unsatisfiable => return Ok(unsatisfiable(length)),
        Selection::Whole => (StatusCode::OK, 0, length),
        Selection::Part { first, last } => (StatusCode::PARTIAL_CONTENT, first, last + 1 - first),
    };
    let mut described = vec![
        (CONTENT_LENGTH, count.to_string()),
        (ETAG, etag),
        (ACCEPT_RANGES, "bytes".into()),
        (CONTENT_TYPE, content_type(name).into()),
        // What a job wrote is shown as text or saved, never run by a browser.
        (X_CONTENT_TYPE_OPTIONS, "nosniff".into()),
        (CACHE_CONTROL, "no-store".into()),
    ];
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {first}-{}/{length}", first + count - 1);
        described.push((CONTENT_RANGE, range));
    }
    let file = if count <= CHUNK_BYTES && method != Method::HEAD {
        let (file, digest) = blocking(move || sum(file, first, count))
            .await
            .map_err(|error| ApiError::internal(&error))?;
        described.push((CONTENT_DIGEST, content_digest(&digest)));
        file
    } else {
        file
    };
    let mut response = Response::new(match *method {
        Method::HEAD => Body::empty(),
        _ => file_body(file, first, count),
    });
    *response.status_mut() = status;
    for (name, value) in described {
        let value = HeaderValue::from_str(&value).map_err(|error| ApiError::internal(&error))?;
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

fn unsatisfiable(length: u64) -> Response {
    let error = ApiError::new(
        StatusCode::RANGE_NOT_SATISFIABLE,
        "InvalidRange",
        "the file has no bytes in that range",
    );
    ([(CONTENT_RANGE, format!("bytes */{length}"))], error).into_response()
}

/// The digest of a part of a file. Should the file change before it is sent, the
/// client finds that the two do not fit.
fn sum(file: File, first: u64, count: u64) -> io::Result<(File, Digest)> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    let (mut offset, end) = (first, first + count);
    while offset < end {
        let at_most =
            usize::try_from(end - offset).map_or(PIECE_BYTES, |rest| rest.min(PIECE_BYTES));
        let read = file.read_at(&mut piece[..at_most], offset)?;
        if read == 0 {
            break;
        }
        hasher.update(&piece[..read]);
        offset += read as u64;
    }
    Ok((file, hasher.finalize().into()))
}

fn content_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let is_text = ["txt", "log", "csv", "json", "jsonl", "yaml", "yml", "md"]
        .iter()
        .any(|text| extension.eq_ignore_ascii_case(text));
    if is_text {
        "text/plain; charset=utf-8"
    } else {
        "application/octet-stream"
    }
}
