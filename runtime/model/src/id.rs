//! Identifiers that Lote chooses, one type for each kind.

use std::fmt;

use serde::{Deserialize, Serialize};

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

/// An unprivileged user and group id under which all jobs of a workspace run,
/// the same on every node so that ownership on shared file systems agrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixId(pub u32);

impl UnixId {
    /// The first id given to a workspace; far above those of people and packages.
    pub const FIRST: UnixId = UnixId(2_000_000);
}
