//! The roles of tokens. Each of those of people may what the one before it may.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Lets a machine join the cluster, and nothing else. No other role may that:
    /// whoever joins gets the cluster's secrets.
    Node,
    /// Reads: resources, lists, plans, output. Changes nothing.
    Reader,
    /// Also creates, changes, terminates and deletes.
    Contributor,
    /// Also tokens, resource groups and the administration of nodes.
    Admin,
}

impl Role {
    /// Those of people, the least powerful first.
    pub const ALL: [Self; 3] = [Self::Reader, Self::Contributor, Self::Admin];

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Reader => "reader",
            Self::Contributor => "contributor",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
