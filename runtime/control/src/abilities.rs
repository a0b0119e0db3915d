//! What jobs need of nodes beside room, and nodes offer.

use lote_model::job::{FrameworkSettings, JobProperties};
use lote_model::node::{CONTAINERS, NodeRecord, REMOTE_START};

/// What a node offers, or what a job needs of each of its nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Abilities {
    /// Processes are started there from other nodes.
    pub starts_remotely: bool,
    /// Processes run in containers.
    pub runs_containers: bool,
}

impl Abilities {
    /// What a node offers.
    pub fn of(node: &NodeRecord) -> Self {
        Self {
            starts_remotely: node.starts_remotely(),
            runs_containers: node.runs_containers(),
        }
    }

    /// What a job needs.
    pub fn needed(properties: &JobProperties, framework: &FrameworkSettings) -> Self {
        Self {
            starts_remotely: framework.starts_peers && properties.node_count > 1,
            runs_containers: properties.container_settings.is_some(),
        }
    }

    /// Whether all that is needed is offered.
    pub fn include(self, needed: Self) -> bool {
        (self.starts_remotely || !needed.starts_remotely)
            && (self.runs_containers || !needed.runs_containers)
    }

    /// Whether it is nothing.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Each of them by itself.
    pub(crate) fn each(self) -> impl Iterator<Item = Named> + Clone {
        let none = Self::default();
        let all = [
            Named {
                ability: Self {
                    starts_remotely: true,
                    ..none
                },
                capability: REMOTE_START,
                words: "whose processes can start others",
            },
            Named {
                ability: Self {
                    runs_containers: true,
                    ..none
                },
                capability: CONTAINERS,
                words: "with containers",
            },
        ];
        all.into_iter().filter(move |one| self.include(one.ability))
    }
}

/// One ability, for people.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named {
    pub(crate) ability: Abilities,
    /// What a node's record calls it.
    pub(crate) capability: &'static str,
    /// What to say of nodes that have it.
    pub(crate) words: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_need_is_met_by_as_much_or_more() {
        let none = Abilities::default();
        let both = Abilities {
            starts_remotely: true,
            runs_containers: true,
        };
        let one = Abilities {
            starts_remotely: false,
            ..both
        };
        assert!(none.include(none) && both.include(one) && one.include(one));
        assert!(!none.include(one) && !one.include(both));
        assert!(none.is_empty() && !one.is_empty());
        assert_eq!(both.each().count(), 2);
        assert_eq!(one.each().count(), 1);
    }
}
