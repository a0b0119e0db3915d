//! Lists, page by page (capabilities §4.6).

use axum::Json;
use axum::response::{IntoResponse, Response};
use lote_model::problem::Problem;
use lote_store::{JsonListing, ListRequest};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::request::{Caller, Parameters};

/// The largest and the default page.
const PAGE_MAX: u32 = 1_000;

/// The parameter that continues a list.
const CONTINUATION: &str = "$skiptoken";

/// What is escaped in a part of a URL: all but what never needs it.
pub(crate) const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Which page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PageRequest {
    /// At most so many values.
    pub(crate) limit: usize,
    /// What the page before ended with.
    pub(crate) after: Option<String>,
}

impl PageRequest {
    /// Reads `maxresults` and the continuation.
    pub(crate) fn of(parameters: &Parameters) -> Result<Self, Problem> {
        let limit = parameters.number("maxresults", 1..=PAGE_MAX, PAGE_MAX)?;
        let after = parameters.get(CONTINUATION).map(str::to_owned);
        Ok(Self {
            limit: limit as usize,
            after,
        })
    }

    /// The same page as a request to the store.
    pub(crate) fn list(&self, prefix: &str) -> ListRequest {
        ListRequest {
            after: self.after.as_ref().map(|rest| format!("{prefix}{rest}")),
            limit: Some(self.limit),
            ..ListRequest::prefix(prefix)
        }
    }
}

/// A page as the API answers it. `last` is what the next page continues after,
/// if there is one.
pub(crate) fn page(
    caller: &Caller,
    parameters: &Parameters,
    values: Vec<Value>,
    last: Option<&str>,
) -> Response {
    let mut body = Map::new();
    body.insert("value".into(), Value::Array(values));
    body.extend(last.map(|last| {
        (
            "nextLink".into(),
            next_link(caller, parameters, last).into(),
        )
    }));
    Json(body).into_response()
}

/// One page of a list of the store under `prefix`, as the API answers it.
pub(crate) fn page_of<T>(
    caller: &Caller,
    parameters: &Parameters,
    prefix: &str,
    listing: &JsonListing<T>,
    values: Vec<Value>,
) -> Response {
    let last = listing.items.last().filter(|_| listing.more);
    let last = last.and_then(|entry| entry.key.strip_prefix(prefix));
    page(caller, parameters, values, last)
}

/// The same request, further on. Clients follow it verbatim.
fn next_link(caller: &Caller, parameters: &Parameters, last: &str) -> String {
    let escape = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
    let kept = parameters
        .0
        .iter()
        .filter(|(name, _)| !name.eq_ignore_ascii_case(CONTINUATION));
    let mut query: Vec<String> = kept
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect();
    if parameters.get("maxresults").is_none() {
        query.push(format!("maxresults={PAGE_MAX}"));
    }
    query.push(format!("{CONTINUATION}={}", escape(last)));
    format!("{}{}?{}", caller.base, caller.path, query.join("&"))
}

#[cfg(test)]
mod tests {
    use lote_model::path::IdStyle;

    use super::*;

    fn parameters(query: &str) -> Parameters {
        Parameters::of(&format!("http://h/p?{query}").parse().unwrap()).unwrap()
    }

    #[test]
    fn the_next_link_is_complete() {
        let caller = Caller {
            style: IdStyle::Lote,
            base: "http://h".into(),
            path: "/a/b".into(),
            api_version: None,
        };
        let link = |query: &str| next_link(&caller, &parameters(query), "g/w ä");
        assert_eq!(
            link("api-version=2018-05-01&maxresults=2&%24skiptoken=old"),
            "http://h/a/b?api-version=2018-05-01&maxresults=2&$skiptoken=g%2Fw%20%C3%A4"
        );
        assert_eq!(
            link(""),
            "http://h/a/b?maxresults=1000&$skiptoken=g%2Fw%20%C3%A4"
        );
        let followed: axum::http::Uri = link("maxresults=2").parse().unwrap();
        let again = PageRequest::of(&Parameters::of(&followed).unwrap()).unwrap();
        assert_eq!(
            again,
            PageRequest {
                limit: 2,
                after: Some("g/w ä".into())
            }
        );
    }

    #[test]
    fn page_sizes_have_bounds() {
        for bad in ["0", "1001", "-1", "x", ""] {
            assert!(
                PageRequest::of(&parameters(&format!("maxresults={bad}"))).is_err(),
                "{bad}"
            );
        }
        assert_eq!(
            PageRequest::of(&parameters("MaxResults=1000"))
                .unwrap()
                .limit,
            1000
        );
    }
}
