//! Nodes with room for jobs, by how much and by place.
//!
//! The snapshot keeps one set for each cluster and for each size in the pool, and changes it node
//! by node as things happen. So a pass sees how many nodes fit a request from a few sums, and
//! looks at single nodes only when it takes them.

use std::collections::{BTreeMap, BTreeSet};

use lote_model::id::NodeName;

use crate::abilities::Abilities;
use crate::nearness::{Domains, Place};
use crate::room::{Amount, Request, Room, Share};

/// What is left of a node, and where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    /// What is left of it.
    pub(crate) room: Room,
    /// Where it stands.
    pub(crate) place: Place,
    /// Whether nothing is held of it, so that a job can have the whole node.
    pub(crate) is_whole: bool,
}

/// What is asked of each node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    share: Option<Share>,
    abilities: Abilities,
    ports_per_allocation: u16,
}

impl Need {
    /// What a request asks of each of its nodes.
    pub(crate) fn of(request: &Request, ports_per_allocation: u16) -> Self {
        Self {
            share: request.share,
            abilities: request.needs,
            ports_per_allocation,
        }
    }

    /// Whether a node has that much left.
    pub(crate) fn fits(&self, slot: &Slot) -> bool {
        match &self.share {
            Some(share) => self.holds(&slot.room, share),
            None => slot.is_whole && self.is_offered(&slot.room),
        }
    }

    fn holds(&self, room: &Room, share: &Share) -> bool {
        self.is_offered(room) && room.holds(share, self.ports_per_allocation)
    }

    fn is_offered(&self, room: &Room) -> bool {
        room.abilities.include(self.abilities)
    }

    /// Whether every node of which nothing is held will do.
    fn takes_any_whole(&self) -> bool {
        self.share.is_none() && self.abilities.is_empty()
    }
}

/// Nodes with room.
#[derive(Clone, Debug, Default)]
pub(crate) struct FreeNodes {
    /// Those of which nothing is held.
    whole: Domains,
    /// How many of them have how much.
    whole_rooms: BTreeMap<Room, usize>,
    /// The others by what is left of them.
    partial: BTreeMap<Room, BTreeSet<NodeName>>,
}

impl FreeNodes {
    /// Adds a node.
    pub(crate) fn insert(&mut self, name: &NodeName, slot: &Slot) {
        if slot.is_whole {
            self.whole.insert(0, name.clone(), &slot.place);
            *self.whole_rooms.entry(slot.room).or_default() += 1;
        } else {
            let names = self.partial.entry(slot.room).or_default();
            names.insert(name.clone());
        }
    }

    /// Takes a node out that was added with this slot.
    pub(crate) fn remove(&mut self, name: &NodeName, slot: &Slot) {
        if slot.is_whole {
            self.whole.remove(0, name, &slot.place);
            if let Some(count) = self.whole_rooms.get_mut(&slot.room) {
                *count -= 1;
                if *count == 0 {
                    self.whole_rooms.remove(&slot.room);
                }
            }
        } else if let Some(names) = self.partial.get_mut(&slot.room) {
            names.remove(name);
            if names.is_empty() {
                self.partial.remove(&slot.room);
            }
        }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.partial.is_empty()
    }

    /// All of them, those in use first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &NodeName> {
        self.partial.values().flatten().chain(self.whole.iter())
    }

    /// Nodes of which nothing is held.
    pub(crate) fn whole(&self) -> &Domains {
        &self.whole
    }

    /// How many fit; it is enough to know of this many.
    pub(crate) fn count(&self, need: &Need, enough: usize) -> usize {
        let mut count = self.count_whole(need);
        let Some(share) = &need.share else {
            return count;
        };
        for (room, names) in self.partial_from(share) {
            if count >= enough {
                break;
            }
            if need.holds(room, share) {
                count += names.len();
            }
        }
        count
    }

    fn count_whole(&self, need: &Need) -> usize {
        if need.takes_any_whole() {
            return self.whole.len();
        }
        let holds = |room: &Room| match &need.share {
            Some(share) => need.holds(room, share),
            None => need.is_offered(room),
        };
        let rooms = self.whole_rooms.iter().filter(|(room, _)| holds(room));
        rooms.map(|(_, count)| count).sum()
    }

    /// Whether each of those of which nothing is held will do.
    fn every_whole_fits(&self, need: &Need) -> bool {
        self.count_whole(need) == self.whole.len()
    }

    /// Nodes in use that may have enough left. Those with the least left come first.
    fn partial_from(&self, share: &Share) -> impl Iterator<Item = (&Room, &BTreeSet<NodeName>)> {
        let least = Room {
            amount: Amount {
                memory_bytes: 0,
                ..share.amount()
            },
            ports: 0,
            abilities: Abilities::default(),
        };
        self.partial.range(least..)
    }

    fn fitting<'s>(
        &'s self,
        need: &'s Need,
        slot: &'s dyn Fn(&NodeName) -> Slot,
    ) -> impl Iterator<Item = &'s NodeName> {
        let partial = need.share.into_iter().flat_map(move |share| {
            self.partial_from(&share)
                .filter(move |(room, _)| need.holds(room, &share))
                .collect::<Vec<_>>()
        });
        let partial = partial.flat_map(|(_, names)| names);
        let any_whole = need.share.is_none() && self.every_whole_fits(need);
        let whole = self.whole.iter();
        partial.chain(whole.filter(move |name| any_whole || need.fits(&slot(name))))
    }

    /// The one node of which a job shall take this share: one in use with as little left as
    /// possible, so that whole nodes stay free; else one whose domain is the fullest.
    fn best(
        &self,
        need: &Need,
        share: &Share,
        slot: &dyn Fn(&NodeName) -> Slot,
    ) -> Option<NodeName> {
        let mut partial = self
            .partial_from(share)
            .filter(|(room, _)| need.holds(room, share));
        if let Some((_, names)) = partial.next() {
            return names.first().cloned();
        }
        if self.every_whole_fits(need) {
            return self.whole.pick(1, &[]).pop();
        }
        let mut whole = self.whole.iter();
        whole.find(|name| need.fits(&slot(name))).cloned()
    }
}

/// Several sets of nodes in the order in which they are used.
pub(crate) struct Choice<'v> {
    /// The sets.
    pub(crate) sets: &'v [&'v FreeNodes],
    /// What each node must have.
    pub(crate) need: Need,
    /// Nodes that do not count.
    pub(crate) avoided: Option<&'v BTreeSet<NodeName>>,
    /// What is left of a node, and where it stands.
    pub(crate) slot: &'v dyn Fn(&NodeName) -> Slot,
}

impl Choice<'_> {
    /// How many nodes fit; it is enough to know of this many.
    pub(crate) fn count(&self, enough: usize) -> usize {
        let Some(avoided) = self.avoided else {
            return self.sets.iter().fold(0, |count, set| {
                count + set.count(&self.need, enough.saturating_sub(count))
            });
        };
        let fitting = self
            .sets
            .iter()
            .flat_map(|set| set.fitting(&self.need, self.slot));
        fitting
            .filter(|name| !avoided.contains(*name))
            .take(enough)
            .count()
    }

    /// So many nodes, or all if fewer fit: near each other, and near these places if there are any.
    pub(crate) fn pick(&self, count: usize, near: &[Place]) -> Vec<NodeName> {
        if count == 0 {
            return Vec::new();
        }
        if self.avoided.is_none() {
            let alone = |set: &&&FreeNodes| set.count(&self.need, count) >= count;
            match (self.sets.iter().find(alone), &self.need.share) {
                (Some(set), None) if set.every_whole_fits(&self.need) => {
                    return set.whole.pick(count, near);
                }
                (Some(set), Some(share)) if count == 1 => {
                    let best = set.best(&self.need, share, self.slot);
                    return best.into_iter().collect();
                }
                _ => {}
            }
        }
        self.together().pick(count, near)
    }

    /// All nodes that fit as one set. Inside a domain those that are used first come first.
    fn together(&self) -> Domains {
        let mut domains = Domains::default();
        for (rank, set) in self.sets.iter().enumerate() {
            let rank = u8::try_from(rank * 2).unwrap_or(u8::MAX - 1);
            for name in set.fitting(&self.need, self.slot) {
                if self.avoided.is_none_or(|avoided| !avoided.contains(name)) {
                    let slot = (self.slot)(name);
                    domains.insert(rank + u8::from(slot.is_whole), name.clone(), &slot.place);
                }
            }
        }
        domains
    }
}
