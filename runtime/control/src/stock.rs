//! What a pass has left to give: the free nodes of clusters and of the pool, less what it has
//! given already.
//!
//! Each cluster and each size in the pool has a shelf, the snapshot's own set of free nodes until
//! the pass changes it. Nodes that a reservation promises are set apart on their shelf, so that jobs
//! that may not use them are counted without looking at them.

use std::borrow::Cow;
use std::collections::HashMap;

use jiff::Timestamp;
use lote_model::id::NodeName;

use crate::free::{FreeNodes, Slot};
use crate::room::Amount;
use crate::snapshot::{ClusterKey, Owner, Snapshot, Spot};

/// A shelf of this pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShelfId(usize);

/// Which reservation of this pass.
pub(crate) type PromiseId = usize;

/// Everything that can still be given.
pub(crate) struct Stock<'a> {
    snapshot: &'a Snapshot,
    shelves: Vec<Shelf<'a>>,
    of_clusters: HashMap<&'a str, ShelfId>,
    of_pools: HashMap<&'a str, ShelfId>,
    /// Nodes that stand elsewhere than in the snapshot, or nowhere any more.
    moved: HashMap<&'a NodeName, Option<Standing>>,
}

struct Shelf<'a> {
    open: Cow<'a, FreeNodes>,
    promised: Vec<Promised>,
}

/// Nodes of one shelf that one reservation promises.
struct Promised {
    to: PromiseId,
    at: Timestamp,
    /// As they are, for jobs that end before the promised time.
    before: FreeNodes,
    /// With what the reservation leaves over, for the others.
    beside: FreeNodes,
}

/// Where a node stands.
#[derive(Clone, Debug)]
struct Standing {
    shelf: ShelfId,
    slot: Slot,
    /// To whom it is promised, and what that leaves over.
    promised: Option<(PromiseId, Slot)>,
}

impl<'a> Stock<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot) -> Self {
        Self {
            snapshot,
            shelves: Vec::new(),
            of_clusters: HashMap::new(),
            of_pools: HashMap::new(),
            moved: HashMap::new(),
        }
    }

    /// The shelf of a cluster.
    pub(crate) fn of_cluster(&mut self, key: &'a ClusterKey) -> ShelfId {
        let next = ShelfId(self.shelves.len());
        let shelf = *self.of_clusters.entry(key).or_insert(next);
        if shelf == next {
            let cluster = self.snapshot.clusters().get(key);
            self.add(cluster.map(|cluster| &cluster.free));
        }
        shelf
    }

    /// The shelf of the pool's nodes of a size in lower case.
    pub(crate) fn of_pool(&mut self, size: &'a str) -> ShelfId {
        let next = ShelfId(self.shelves.len());
        let shelf = *self.of_pools.entry(size).or_insert(next);
        if shelf == next {
            self.add(self.snapshot.free_in_pool(size));
        }
        shelf
    }

    fn add(&mut self, free: Option<&'a FreeNodes>) {
        self.shelves.push(Shelf {
            open: free.map_or_else(Cow::default, Cow::Borrowed),
            promised: Vec::new(),
        });
    }

    /// Whether nothing at all is left on a shelf.
    pub(crate) fn is_empty(&self, shelf: ShelfId) -> bool {
        let shelf = &self.shelves[shelf.0];
        shelf.open.is_empty() && shelf.promised.iter().all(|set| set.before.is_empty())
    }

    /// The nodes of a shelf that are promised to nobody.
    pub(crate) fn open(&self, shelf: ShelfId) -> &FreeNodes {
        &self.shelves[shelf.0].open
    }

    /// The nodes of a shelf: all, or those that a job that ends by then may use.
    pub(crate) fn sets(&self, shelf: ShelfId, ends_by: Option<Timestamp>) -> Vec<&FreeNodes> {
        let shelf = &self.shelves[shelf.0];
        let promised = shelf.promised.iter().map(|set| match ends_by {
            Some(ends_by) if ends_by > set.at => &set.beside,
            _ => &set.before,
        });
        std::iter::once(shelf.open.as_ref())
            .chain(promised)
            .filter(|set| !set.is_empty())
            .collect()
    }

    /// What is left of a node; nothing if it is no longer there.
    pub(crate) fn slot(&self, name: &NodeName) -> Slot {
        let moved = self.moved.get(name);
        let slot = match moved {
            Some(standing) => standing.as_ref().map(|standing| &standing.slot),
            None => self.spot(name).map(|spot| &spot.slot),
        };
        slot.cloned().unwrap_or_default()
    }

    fn spot(&self, name: &NodeName) -> Option<&'a Spot> {
        self.snapshot.node(name)?.spot()
    }

    fn standing(&mut self, name: &NodeName) -> Option<Standing> {
        if let Some(standing) = self.moved.get(name) {
            return standing.clone();
        }
        let spot = self.spot(name)?;
        let shelf = match &spot.of {
            Owner::Pool(size) => self.of_pool(size),
            Owner::Cluster(key) => self.of_cluster(key),
        };
        Some(Standing {
            shelf,
            slot: spot.slot.clone(),
            promised: None,
        })
    }

    /// A node changes from one shelf to another.
    pub(crate) fn move_to(&mut self, name: &'a NodeName, shelf: ShelfId) {
        let standing = self.standing(name);
        self.set(
            name,
            standing.map(|standing| Standing { shelf, ..standing }),
        );
    }

    /// Nobody gets anything of a node any more.
    pub(crate) fn take_out(&mut self, name: &'a NodeName) {
        self.set(name, None);
    }

    /// A job got something of a node, which leaves `left`, and `slack` beside a reservation.
    pub(crate) fn give(&mut self, name: &'a NodeName, left: Option<Slot>, slack: Option<Amount>) {
        let Some(old) = self.standing(name) else {
            return;
        };
        let new = left.map(|slot| Standing {
            shelf: old.shelf,
            promised: old
                .promised
                .map(|(to, _)| (to, beside(&slot, &slack.unwrap_or_default()))),
            slot,
        });
        self.set(name, new);
    }

    /// A node is promised from that time on, less `slack`.
    pub(crate) fn promise(
        &mut self,
        name: &'a NodeName,
        to: PromiseId,
        at: Timestamp,
        slack: &Amount,
    ) {
        let Some(mut standing) = self.standing(name) else {
            return;
        };
        let shelf = &mut self.shelves[standing.shelf.0];
        if !shelf.promised.iter().any(|set| set.to == to) {
            shelf.promised.push(Promised {
                to,
                at,
                before: FreeNodes::default(),
                beside: FreeNodes::default(),
            });
        }
        standing.promised = Some((to, beside(&standing.slot, slack)));
        self.set(name, Some(standing));
    }

    fn set(&mut self, name: &'a NodeName, new: Option<Standing>) {
        if let Some(old) = self.standing(name) {
            self.change(&old, |free, slot| free.remove(name, slot));
        }
        if let Some(new) = &new {
            self.change(new, |free, slot| free.insert(name, slot));
        }
        self.moved.insert(name, new);
    }

    fn change(&mut self, standing: &Standing, mut change: impl FnMut(&mut FreeNodes, &Slot)) {
        let shelf = &mut self.shelves[standing.shelf.0];
        let Some((to, beside)) = &standing.promised else {
            return change(shelf.open.to_mut(), &standing.slot);
        };
        if let Some(set) = shelf.promised.iter_mut().find(|set| set.to == *to) {
            change(&mut set.before, &standing.slot);
            change(&mut set.beside, beside);
        }
    }
}

/// What others may use of a promised node.
fn beside(slot: &Slot, slack: &Amount) -> Slot {
    Slot {
        room: slot.room.within(slack),
        is_whole: false,
        ..slot.clone()
    }
}
