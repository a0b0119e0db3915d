//! Names that users choose, with the rules of the Batch AI specification.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// The longest name of a workspace, cluster, file server, experiment or job.
pub const NAME_LENGTH_MAX: usize = 64;

/// The longest resource-group name; the specification sets none, keys need one.
pub const GROUP_NAME_LENGTH_MAX: usize = 90;

/// The name of a workspace, cluster, file server, experiment or job.
///
/// Letters, digits, `-` and `_`, 1 to 64 of them. The user's spelling is kept;
/// comparison and store keys ignore case.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceName(String);

/// The name of a resource group: like [`ResourceName`], dots allowed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupName(String);

fn check(kind: &str, text: &str, length_max: usize, dots: bool) -> Result<(), Problem> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || (dots && c == '.');
    let rule = if dots {
        "letters, digits, '-', '_' and '.'"
    } else {
        "letters, digits, '-' and '_'"
    };
    if text.is_empty()
        || text.len() > length_max
        || !text.chars().all(fits)
        || text.chars().all(|c| c == '.')
    {
        let shown: String = text.chars().take(80).collect();
        return Err(Problem::new(
            "InvalidResourceName",
            format!("'{shown}' is not a {kind}: it must be 1 to {length_max} of {rule}"),
        ));
    }
    Ok(())
}

macro_rules! name {
    ($type:ident, $kind:literal, $length_max:expr, $dots:literal) => {
        impl $type {
            /// Checks `text` against the rule of this kind of name.
            pub fn new(text: impl Into<String>) -> Result<Self, Problem> {
                let text = text.into();
                check($kind, &text, $length_max, $dots)?;
                Ok(Self(text))
            }

            /// The name as the user spelled it.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The form in which names are compared: lower case.
            pub fn folded(&self) -> String {
                self.0.to_ascii_lowercase()
            }
        }

        impl TryFrom<String> for $type {
            type Error = Problem;

            fn try_from(text: String) -> Result<Self, Problem> {
                Self::new(text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                self.0.eq_ignore_ascii_case(&other.0)
            }
        }

        impl Eq for $type {}

        impl PartialOrd for $type {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $type {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                let fold = |c: u8| c.to_ascii_lowercase();
                self.0.bytes().map(fold).cmp(other.0.bytes().map(fold))
            }
        }

        impl std::hash::Hash for $type {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.folded().hash(state);
            }
        }
    };
}

name!(ResourceName, "resource name", NAME_LENGTH_MAX, false);
name!(
    GroupName,
    "resource group name",
    GROUP_NAME_LENGTH_MAX,
    true
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_what_the_specification_rejects() {
        for bad in ["", "a.b", "a b", "ä", "a/b", "..", &"x".repeat(65)] {
            assert!(ResourceName::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "A-b_9", &"x".repeat(64)] {
            assert!(ResourceName::new(good).is_ok(), "{good:?}");
        }
        assert!(GroupName::new("my.group").is_ok());
        assert!(GroupName::new("..").is_err());
    }

    #[test]
    fn compares_without_case_and_keeps_the_spelling() {
        let name = ResourceName::new("MyJob").unwrap();
        assert_eq!(name, ResourceName::new("myjob").unwrap());
        assert_eq!(name.as_str(), "MyJob");
        assert_eq!(name.folded(), "myjob");
    }
}
