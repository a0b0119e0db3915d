//! Paths below a directory, as clients write them.

use std::ffi::{CString, OsStr};
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The longest path that is looked at; Linux takes no longer one.
const LENGTH_MAX: usize = 4_096;

/// A path below a directory: no root, no `..`, no empty part. The directory
/// itself is `.`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct RelativePath(String);

/// The text is not such a path.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path must stay below its directory: no leading '/', no '..', at most 4096 bytes")]
pub(crate) struct PathEscapes;

impl RelativePath {
    /// Reads a path; `.` and empty parts mean nothing.
    pub(crate) fn parse(text: &str) -> Result<Self, PathEscapes> {
        let absolute = text.starts_with('/');
        let parts: Vec<&str> = text
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
            .collect();
        if absolute || text.len() > LENGTH_MAX || text.contains('\0') || parts.contains(&"..") {
            return Err(PathEscapes);
        }
        Ok(Self(if parts.is_empty() {
            ".".to_owned()
        } else {
            parts.join("/")
        }))
    }

    /// The path of something in it.
    pub(crate) fn join(&self, name: &str) -> Result<Self, PathEscapes> {
        Self::parse(&format!("{}/{name}", self.0))
    }

    /// Whether it is the directory itself.
    pub(crate) fn is_root(&self) -> bool {
        self.0 == "."
    }

    /// Its last part.
    pub(crate) fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The directory that holds it.
    pub(crate) fn parent(&self) -> Self {
        Self(
            self.0
                .rsplit_once('/')
                .map_or(".", |(parent, _)| parent)
                .to_owned(),
        )
    }

    /// As the system takes it.
    pub(crate) fn as_path(&self) -> &Path {
        Path::new(OsStr::new(&self.0))
    }

    /// Its parts, one after the other.
    pub(crate) fn parts(&self) -> impl Iterator<Item = CString> {
        self.0.split('/').filter_map(|part| CString::new(part).ok())
    }
}

impl TryFrom<String> for RelativePath {
    type Error = PathEscapes;

    fn try_from(text: String) -> Result<Self, PathEscapes> {
        Self::parse(&text)
    }
}

impl From<RelativePath> for String {
    fn from(path: RelativePath) -> String {
        path.0
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below() {
        for (text, expected) in [
            ("", "."),
            (".", "."),
            ("a", "a"),
            ("./a//b/", "a/b"),
            ("a b/ü", "a b/ü"),
            ("a..b", "a..b"),
        ] {
            assert_eq!(
                RelativePath::parse(text).unwrap().to_string(),
                expected,
                "{text}"
            );
        }
        for bad in [
            "/",
            "/etc",
            "..",
            "a/../b",
            "../x",
            "a/..",
            "a\0b",
            &"x".repeat(5_000),
        ] {
            assert_eq!(RelativePath::parse(bad), Err(PathEscapes), "{bad}");
        }
    }

    #[test]
    fn parts_of_a_path() {
        let path = RelativePath::parse("a/b/c.txt").unwrap();
        assert_eq!(
            (path.file_name(), path.parent().to_string()),
            ("c.txt", "a/b".into())
        );
        assert_eq!(path.parent().parent().parent().to_string(), ".");
        assert_eq!(
            RelativePath::parse(".")
                .unwrap()
                .join("x")
                .unwrap()
                .to_string(),
            "x"
        );
    }

    proptest::proptest! {
        #[test]
        fn what_is_accepted_cannot_climb(text in "[a./]{0,12}") {
            if let Ok(path) = RelativePath::parse(&text) {
                let path = path.to_string();
                proptest::prop_assert!(!path.starts_with('/'));
                proptest::prop_assert!(path.split('/').all(|part| !part.is_empty() && part != ".."));
            }
        }
    }
}
