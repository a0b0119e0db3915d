//! What the lines of an export say.
//!
//! The first is the [`Header`]. Then come keys with their values, `{"key": …, "value": …}`, and
//! after them what changed while they were read, in order: more of the same, and
//! `{"key": …, "deleted": true}`. The last line, `{"end": …}`, tells how many there were, so that
//! a file that was cut off is found out.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::api::{Event, Revision, Versioned};
use crate::error::StoreError;

/// The version of the format that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The format's version; it tells an export from other files as well.
    pub lote_export: u32,
    /// When it was begun, RFC 3339.
    pub exported_at: String,
    /// The version of the daemon that wrote it.
    pub daemon_version: String,
    /// The fingerprint of the key that the secrets in it are sealed with; none where the daemon
    /// has no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_key: Option<String>,
}

/// Why a line cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The first line is not a header.
    #[error("the first line is not that of an export of Lote")]
    Header(#[source] serde_json::Error),
    /// A later daemon wrote it.
    #[error("the export has format {found}, this program reads format {VERSION}: use a newer one")]
    Version {
        /// The format's version.
        found: u32,
    },
    /// A line is not what it should be.
    #[error("line {number} is damaged")]
    Damaged {
        /// Its number, from 1.
        number: u64,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A line says nothing, or two things.
    #[error("line {number} is damaged: it names no key with a value")]
    Meaningless {
        /// Its number, from 1.
        number: u64,
    },
    /// The last line is missing, or tells of another number of lines.
    #[error("the export is cut off after line {number}: export again")]
    CutOff {
        /// The last line that is there.
        number: u64,
    },
}

/// What the last line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    /// The lines between the first and this one.
    pub(super) lines: u64,
    /// The revision of the store that they add up to.
    pub(super) revision: Revision,
}

/// A line after the first.
#[derive(Debug)]
pub(super) enum Line<'a> {
    Put { key: Cow<'a, str>, value: &'a str },
    Delete { key: Cow<'a, str> },
    End(End),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Members<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    #[serde(
        borrow,
        default,
        deserialize_with = "there",
        skip_serializing_if = "Option::is_none"
    )]
    value: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<End>,
}

/// A member that is there is a value, also when it is null.
fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Header {
    /// Reads the first line.
    pub fn parse(line: &str) -> Result<Self, LineError> {
        let header: Self = serde_json::from_str(line).map_err(LineError::Header)?;
        if header.lote_export != VERSION {
            return Err(LineError::Version {
                found: header.lote_export,
            });
        }
        Ok(header)
    }

    /// The line without its end.
    pub(super) fn write(&self) -> Result<Vec<u8>, StoreError> {
        written("the header of an export", self)
    }
}

impl<'a> Line<'a> {
    pub(super) fn parse(line: &'a str, number: u64) -> Result<Self, LineError> {
        let members: Members<'a> =
            serde_json::from_str(line).map_err(|source| LineError::Damaged { number, source })?;
        match members {
            Members {
                key: Some(key),
                value: Some(value),
                deleted: false,
                end: None,
            } => Ok(Self::Put {
                key,
                value: value.get(),
            }),
            Members {
                key: Some(key),
                value: None,
                deleted: true,
                end: None,
            } => Ok(Self::Delete { key }),
            Members {
                key: None,
                value: None,
                deleted: false,
                end: Some(end),
            } => Ok(Self::End(end)),
            _ => Err(LineError::Meaningless { number }),
        }
    }
}

/// Appends the line of a key and its value. A value that is no JSON fails with
/// [`StoreError::Decode`].
pub(super) fn put(versioned: &Versioned, to: &mut Vec<u8>) -> Result<(), StoreError> {
    let decode = |source| StoreError::Decode {
        key: versioned.key.clone(),
        expected: "JSON",
        source,
    };
    // Between the parts of a value a line may end; inside a string it cannot.
    let one_line: Cow<'_, [u8]> = if versioned.value.contains(&b'\n') {
        let blank = |byte: &u8| if *byte == b'\n' { b' ' } else { *byte };
        versioned
            .value
            .iter()
            .map(blank)
            .collect::<Vec<u8>>()
            .into()
    } else {
        (&*versioned.value).into()
    };
    let value: &RawValue = serde_json::from_slice(&one_line).map_err(decode)?;
    append(
        &versioned.key,
        &Members {
            key: Some((&*versioned.key).into()),
            value: Some(value),
            deleted: false,
            end: None,
        },
        to,
    )
}

/// Appends the line of a change.
pub(super) fn event(event: &Event, to: &mut Vec<u8>) -> Result<(), StoreError> {
    match event {
        Event::Put(versioned) => put(versioned, to),
        Event::Delete { key, .. } => append(
            key,
            &Members {
                key: Some(key.into()),
                value: None,
                deleted: true,
                end: None,
            },
            to,
        ),
    }
}

/// The last line.
pub(super) fn end(end: End) -> Result<Vec<u8>, StoreError> {
    let mut line = Vec::new();
    let members = Members {
        key: None,
        value: None,
        deleted: false,
        end: Some(end),
    };
    append("the end of an export", &members, &mut line)?;
    Ok(line)
}

fn append(key: &str, members: &Members<'_>, to: &mut Vec<u8>) -> Result<(), StoreError> {
    to.extend(written(key, members)?);
    to.push(b'\n');
    Ok(())
}

fn written(key: &str, what: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(what).map_err(|source| StoreError::Encode {
        key: key.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versioned(key: &str, value: &str) -> Versioned {
        Versioned {
            key: key.to_owned(),
            value: value.to_owned().into(),
            create_revision: 1,
            mod_revision: 1,
            version: 1,
        }
    }

    #[test]
    fn a_value_keeps_its_spelling() {
        let value = r#"{"n": 1.0000000000000000001e400, "s": "a\nb", "u": "ü"}"#;
        let mut line = Vec::new();
        put(&versioned("jobs/\"x\"", value), &mut line).unwrap();
        let text = String::from_utf8(line).unwrap();
        assert_eq!(text.lines().count(), 1);
        let Line::Put { key, value: read } = Line::parse(text.trim_end(), 2).unwrap() else {
            panic!("{text}")
        };
        assert_eq!((&*key, read), ("jobs/\"x\"", value));
    }

    #[test]
    fn a_value_of_many_lines_becomes_one() {
        let mut line = Vec::new();
        put(&versioned("a", "{\n\"b\":\n1}"), &mut line).unwrap();
        assert_eq!(line, b"{\"key\":\"a\",\"value\":{ \"b\": 1}}\n");
    }

    #[test]
    fn what_is_no_json_is_an_error_and_names_the_key() {
        let error = put(&versioned("jobs/a", "not"), &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("`jobs/a`"), "{error}");
    }

    #[test]
    fn lines_that_say_nothing_or_two_things_are_refused() {
        for line in [
            "{}",
            "[]",
            r#"{"key": "a"}"#,
            r#"{"value": 1}"#,
            r#"{"key": "a", "value": 1, "deleted": true}"#,
            r#"{"key": "a", "value": 1, "end": {"lines": 1, "revision": 1}}"#,
        ] {
            let error = Line::parse(line, 7).unwrap_err();
            assert!(
                matches!(error, LineError::Meaningless { number: 7 }),
                "{line}"
            );
        }
        for line in ["", r#"{"kee": "a"}"#, r#"{"key": "a", "value": 1"#] {
            let error = Line::parse(line, 7).unwrap_err();
            assert!(
                matches!(error, LineError::Damaged { number: 7, .. }),
                "{line}"
            );
        }
    }

    #[test]
    fn a_null_is_a_value() {
        // Nobody writes one, but what is in a store must come back.
        let mut line = Vec::new();
        put(&versioned("a", "null"), &mut line).unwrap();
        let text = String::from_utf8(line).unwrap();
        let read = Line::parse(text.trim_end(), 1).unwrap();
        assert!(matches!(read, Line::Put { value: "null", .. }), "{read:?}");
    }

    #[test]
    fn a_later_format_is_refused_in_words() {
        let line = r#"{"loteExport":2,"exportedAt":"","daemonVersion":"9"}"#;
        let error = Header::parse(line).unwrap_err();
        assert!(error.to_string().contains("newer"), "{error}");
        assert!(matches!(
            Header::parse(r#"{"key": "a", "value": 1}"#).unwrap_err(),
            LineError::Header(_)
        ));
    }
}
