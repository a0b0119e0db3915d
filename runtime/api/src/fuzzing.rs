//! The functions that read what strangers send, for the fuzz targets in `fuzz/`.
//! Behind a feature and without any promise: nothing else may use them.

use axum::http::Uri;
use serde::Serialize;

use crate::files::link::{self, Link};
use crate::files::range::{Selection, select};
use crate::files::relative::RelativePath;
use crate::normalise::canonical;
use crate::page::PageRequest;
use crate::request::Parameters;
use crate::token::Signer;

/// The path of a request target; none if the text is no target.
pub fn sent_path(target: &str) -> Option<String> {
    let uri: Uri = target.parse().ok()?;
    uri.path().starts_with('/').then(|| uri.path().to_owned())
}

/// A request's path in the form of the routes.
pub fn canonical_path(path: &str) -> String {
    canonical(path).path
}

/// How many values the query of a request target asks for; none if it is wrong.
pub fn page_limit(target: &str) -> Option<usize> {
    let parameters = Parameters::of(&target.parse().ok()?).ok()?;
    Some(PageRequest::of(&parameters).ok()?.limit)
}

/// A token for download links that holds anything.
pub fn seal(key: &[u8; 32], payload: &impl Serialize) -> String {
    Signer::new(key).seal(link::PURPOSE, payload)
}

/// The file that a download link leads to; none if the token is not ours.
pub fn open_link(key: &[u8; 32], token: &str) -> Option<String> {
    let link: Link = Signer::new(key).open(link::PURPOSE, token)?;
    Some(link.file.to_string())
}

/// The first and the last byte that a `Range` header selects, if it selects a
/// part of a file of that length.
pub fn part_of_file(header: &str, length: u64) -> Option<(u64, u64)> {
    match select(Some(header), length) {
        Selection::Part { first, last } => Some((first, last)),
        Selection::Whole | Selection::Unsatisfiable => None,
    }
}

/// A path below a directory; none if it is refused.
pub fn relative_path(text: &str) -> Option<String> {
    RelativePath::parse(text).ok().map(String::from)
}
