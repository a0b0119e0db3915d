//! Which nodes are near each other, by what operators say of their places.
//!
//! Labels such as `switch` and `rack` divide the nodes into domains: a rack holds switches, a
//! switch holds nodes. The processes of a gang talk to each other, so a gang goes into the smallest
//! domain that holds it, and where there are several, into the fullest of them (best fit): the
//! large ones stay whole for large gangs. A gang that no domain holds is spread over as few as
//! possible. Nodes that say nothing stand in one domain together. Among equals the names of the
//! nodes decide.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lote_model::id::NodeName;

/// Stands between the labels in the key of a domain; no label can have it, as it cannot be typed.
const SEPARATOR: char = '\0';

/// Where a node stands: the keys of its domains, from the narrowest to the widest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place(Arc<[Arc<str>]>);

impl Place {
    /// The place that labels describe. `nearness` names the labels that count, the narrowest first.
    pub(crate) fn of(labels: &BTreeMap<String, String>, nearness: &[String]) -> Self {
        let mut key = String::new();
        let mut keys: Vec<Arc<str>> = Vec::with_capacity(nearness.len());
        for label in nearness.iter().rev() {
            key.push_str(labels.get(label).map_or("", String::as_str));
            key.push(SEPARATOR);
            keys.push(key.as_str().into());
        }
        keys.reverse();
        Self(keys.into())
    }

    fn narrowest(&self) -> Arc<str> {
        self.0.first().cloned().unwrap_or_else(|| Arc::from(""))
    }
}

/// Nodes by domain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Domains {
    len: usize,
    /// The nodes of each of the narrowest domains. Those of lower rank are taken first.
    members: BTreeMap<Arc<str>, BTreeSet<(u8, NodeName)>>,
    /// From the narrowest labels to the widest.
    levels: Vec<Level>,
}

/// The domains that one label makes.
#[derive(Clone, Debug, Default)]
struct Level {
    sizes: BTreeMap<Arc<str>, Size>,
    by_size: BTreeSet<(Size, Arc<str>)>,
}

/// How many nodes a domain has, and the first of them, which decides between equals.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Size {
    count: usize,
    first: String,
}

impl Level {
    /// The smallest domain with so many nodes.
    fn best_fit(&self, count: usize) -> Option<&Arc<str>> {
        let least = (
            Size {
                count,
                first: String::new(),
            },
            Arc::from(""),
        );
        self.by_size.range(least..).next().map(|(_, key)| key)
    }

    fn set(&mut self, key: &Arc<str>, size: Option<Size>) {
        let old = match &size {
            Some(size) => self.sizes.insert(Arc::clone(key), size.clone()),
            None => self.sizes.remove(key),
        };
        if let Some(old) = old {
            self.by_size.remove(&(old, Arc::clone(key)));
        }
        if let Some(size) = size {
            self.by_size.insert((size, Arc::clone(key)));
        }
    }

    /// The domains inside a wider one.
    fn inside<'s>(&'s self, wider: &'s str) -> impl Iterator<Item = (&'s Arc<str>, &'s Size)> {
        self.sizes
            .range::<str, _>((std::ops::Bound::Included(wider), std::ops::Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(wider))
    }
}

impl Domains {
    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All nodes, domain by domain.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &NodeName> {
        self.members.values().flatten().map(|(_, name)| name)
    }

    /// Adds a node. Those of lower rank are taken first inside a domain.
    pub(crate) fn insert(&mut self, rank: u8, name: NodeName, place: &Place) {
        let narrowest = place.narrowest();
        let members = self.members.entry(narrowest).or_default();
        self.len += usize::from(members.insert((rank, name)));
        self.measure(place);
    }

    /// Takes a node out.
    pub(crate) fn remove(&mut self, rank: u8, name: &NodeName, place: &Place) {
        let narrowest = place.narrowest();
        if let Some(members) = self.members.get_mut(&narrowest) {
            self.len -= usize::from(members.remove(&(rank, name.clone())));
            if members.is_empty() {
                self.members.remove(&narrowest);
            }
        }
        self.measure(place);
    }

    /// Notes the sizes of a node's domains anew.
    fn measure(&mut self, place: &Place) {
        self.levels
            .resize_with(self.levels.len().max(place.0.len()), Level::default);
        for (depth, key) in place.0.iter().enumerate() {
            let size = if depth == 0 {
                self.members.get(key).and_then(|members| {
                    Some(Size {
                        count: members.len(),
                        first: members.first()?.1.as_str().to_owned(),
                    })
                })
            } else {
                let inside = self.levels[depth - 1].inside(key).map(|(_, size)| size);
                inside.cloned().reduce(|one, other| Size {
                    count: one.count + other.count,
                    first: one.first.min(other.first),
                })
            };
            self.levels[depth].set(key, size);
        }
    }

    /// So many nodes, or all if there are fewer: as near to each other as they are. With places
    /// in `near`, as near to one of these as they are.
    pub(crate) fn pick(&self, count: usize, near: &[Place]) -> Vec<NodeName> {
        let mut picked = Vec::with_capacity(count.min(self.len));
        if count == 0 {
            return picked;
        }
        let beside = (0..self.levels.len()).find_map(|depth| {
            let keys = near.iter().filter_map(|place| place.0.get(depth));
            let sizes = keys.filter_map(|key| self.levels[depth].sizes.get_key_value(key));
            let large = sizes.filter(|(_, size)| size.count >= count);
            let best = large.min_by(|one, other| one.1.cmp(other.1))?;
            Some((depth, best.0))
        });
        let mut levels = self.levels.iter().enumerate();
        let domain = beside
            .or_else(|| levels.find_map(|(depth, level)| Some((depth, level.best_fit(count)?))));
        match domain {
            Some((depth, key)) => self.take(depth, key, count, &mut picked),
            None => self.spread(self.levels.len(), "", count, &mut picked),
        }
        picked
    }

    /// Takes nodes of one domain.
    fn take(&self, depth: usize, key: &str, count: usize, picked: &mut Vec<NodeName>) {
        if depth > 0 {
            return self.spread(depth, key, count, picked);
        }
        let members = self.members.get(key).into_iter().flatten();
        picked.extend(members.take(count).map(|(_, name)| name.clone()));
    }

    /// Takes nodes of as few as possible of the domains inside a wider one.
    fn spread(&self, depth: usize, wider: &str, count: usize, picked: &mut Vec<NodeName>) {
        let Some(narrower) = depth.checked_sub(1) else {
            return self.take(0, "", count, picked);
        };
        let mut inside: Vec<_> = self.levels[narrower].inside(wider).collect();
        inside.sort_unstable_by_key(|(_, size)| (size.count, Reverse(&size.first)));
        let mut missing = count;
        while missing > 0 {
            let fits = inside.partition_point(|(_, size)| size.count < missing);
            let is_enough = fits < inside.len();
            // Among those of one size the first by name stands last.
            let same = |size: usize| inside.partition_point(|(_, other)| other.count <= size);
            let best = if is_enough {
                same(inside[fits].1.count) - 1
            } else if inside.is_empty() {
                return;
            } else {
                inside.len() - 1
            };
            let (key, size) = inside.remove(best);
            self.take(narrower, key, missing.min(size.count), picked);
            missing = missing.saturating_sub(size.count);
        }
    }
}

#[cfg(test)]
mod tests;
