//! The token in a request's head.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use lote_model::access::token::{TokenText, unwrapped};

/// Longer ones are not ours; a bound on the work for strangers.
const LENGTH_MAX: usize = 8 * 1024;

/// What a request shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown<'a> {
    /// No `Authorization` at all.
    Nothing,
    /// One that is no bearer token.
    Odd,
    /// A token, without a wrapper.
    Token(&'a str),
}

/// Reads what a request shows. Two such headers are odd: which one counts?
pub(super) fn shown(headers: &HeaderMap) -> Shown<'_> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), more) = (all.next(), all.next()) else {
        return Shown::Nothing;
    };
    let text = value.to_str().unwrap_or_default();
    let token = match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => return Shown::Odd,
    };
    if more.is_some() || token.is_empty() || text.len() > LENGTH_MAX {
        return Shown::Odd;
    }
    Shown::Token(unwrapped(token))
}

/// The id that a request's token claims to have, right or wrong.
pub(crate) fn claimed(headers: &HeaderMap) -> Option<String> {
    match shown(headers) {
        Shown::Token(text) => TokenText::parse(text)?.id().map(|id| id.to_string()),
        Shown::Nothing | Shown::Odd => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&'static str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (AUTHORIZATION, value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn bearers_are_read_in_any_case_and_wrapping() {
        assert_eq!(shown(&of(&[])), Shown::Nothing);
        for value in ["Bearer lote_x", "bearer  lote_x ", "BEARER e30.e30.lote_x"] {
            assert_eq!(shown(&of(&[value])), Shown::Token("lote_x"), "{value}");
        }
        for odd in ["lote_x", "Basic lote_x", "Bearer", "Bearer ", ""] {
            assert_eq!(shown(&of(&[odd])), Shown::Odd, "{odd}");
        }
        assert_eq!(shown(&of(&["Bearer a", "Bearer b"])), Shown::Odd);
    }
}
