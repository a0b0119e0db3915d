//! Identifiers that Lote chooses, one type for each kind.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::problem::Problem;

macro_rules! text_id {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(String);

        impl $type {
            /// Wraps an identifier that was made or stored by Lote.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The identifier as text, as it stands in keys and answers.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// The unique id of one created job; a name used again gets another one.
    JobUid
}
text_id! {
    /// The unique id of one created cluster.
    ClusterUid
}
text_id! {
    /// The unique id of one created file server.
    FileServerUid
}
text_id! {
    /// The name under which a machine joined; lower case, unique in the cluster.
    NodeName
}

/// The longest name of a node: one label of a host name.
const NODE_NAME_LENGTH_MAX: usize = 63;

impl NodeName {
    /// Checks a name that a machine wants to join under. It stands in keys, in file
    /// names and in certificates, so it must be a host name in lower case.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        let is_label =
            |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
        // What ends like an address would be taken for one.
        let has_letter = |label: &str| label.contains(|c: char| c.is_ascii_lowercase());
        let good = text.len() <= NODE_NAME_LENGTH_MAX
            && text.chars().all(fits)
            && text.split('.').all(is_label)
            && text.rsplit('.').next().is_some_and(has_letter);
        if good {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(80).collect();
        let message = format!(
            "'{shown}' is not a node name: it must be 1 to {NODE_NAME_LENGTH_MAX} lower-case letters, \
             digits, '-', '_' and '.', like a host name, with a letter behind the last dot; give \
             another one with --name"
        );
        Err(Problem::new("InvalidNodeName", message))
    }
}

/// An unprivileged user and group id under which all jobs of a workspace run,
/// the same on every node so that ownership on shared file systems agrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixId(pub u32);

impl UnixId {
    /// The first id given to a workspace; far above those of people and packages.
    pub const FIRST: UnixId = UnixId(2_000_000);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nodes_are_host_names() {
        for good in [
            "a",
            "gpu-1.lab",
            "gpu_box1",
            "1a",
            "10.0.0.a",
            &"x".repeat(63),
        ] {
            assert!(NodeName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "A",
            "ü",
            "a/b",
            "a b",
            "..",
            "a..b",
            ".a",
            "a.",
            "-a",
            "a-",
            "a.-b",
            "10.0.0.1",
            "1",
            &"x".repeat(64),
        ] {
            assert!(NodeName::parse(bad).is_err(), "{bad}");
        }
    }
}
