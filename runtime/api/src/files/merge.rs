//! One page of a directory that several nodes have a part of.
//!
//! Without a shared file system every node of a gang writes to a directory of its
//! own. Clients see one: the names of all, each once, in one order.

use std::collections::BTreeMap;

use super::listing::{Found, Page};

/// A page whose entries know where they come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Merged {
    /// In the order of their names, each with the place of its page among those merged.
    pub(crate) entries: Vec<(usize, Found)>,
    /// The name to continue after.
    pub(crate) last: Option<String>,
}

/// Merges pages that begin after the same name. Of a name that several have, the
/// first counts, unless `near` has the very same file: on a shared file system all
/// have, and the nearest is read soonest.
pub(crate) fn merge(pages: Vec<Page>, limit: usize, near: Option<usize>) -> Merged {
    // What lies behind the end of the shortest page that goes on is not known of all.
    let horizon = pages.iter().filter_map(|page| page.last.clone()).min();
    let mut names: BTreeMap<String, (usize, Found)> = BTreeMap::new();
    for (place, page) in pages.into_iter().enumerate() {
        for found in page.entries {
            let hidden = horizon.as_ref().is_some_and(|end| found.name > *end);
            if hidden {
                continue;
            }
            match names.get_mut(&found.name) {
                None => {
                    names.insert(found.name.clone(), (place, found));
                }
                Some(kept) if near == Some(place) && kept.1 == found => *kept = (place, found),
                Some(_) => {}
            }
        }
    }
    let cut = names.len() > limit;
    let entries: Vec<(usize, Found)> = names.into_values().take(limit).collect();
    let end = entries.last().map(|(_, found)| found.name.clone());
    Merged {
        last: if cut { end } else { horizon },
        entries,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::super::listing::FileFacts;
    use super::*;

    fn file(name: &str, length: u64) -> Found {
        let modified = Timestamp::UNIX_EPOCH;
        Found {
            name: name.to_owned(),
            file: Some(FileFacts { length, modified }),
        }
    }

    fn whole(names: &[&str]) -> Page {
        Page {
            entries: names.iter().map(|name| file(name, 1)).collect(),
            last: None,
        }
    }

    /// What a node answers that has `names`.
    fn page(names: &BTreeSet<String>, after: Option<&str>, limit: usize) -> Page {
        let mut rest = names
            .iter()
            .filter(|name| after.is_none_or(|after| name.as_str() > after));
        let entries: Vec<Found> = rest
            .by_ref()
            .take(limit)
            .map(|name| file(name, 1))
            .collect();
        let more = rest.next().is_some();
        let last = entries
            .last()
            .map(|found| found.name.clone())
            .filter(|_| more);
        Page { entries, last }
    }

    #[test]
    fn a_name_stands_once_and_the_nearest_of_equals_counts() {
        let pages = || vec![whole(&["a", "b"]), whole(&["b", "c"])];
        let places = |near| {
            let merged = merge(pages(), 9, near);
            merged
                .entries
                .into_iter()
                .map(|(place, _)| place)
                .collect::<Vec<_>>()
        };
        assert_eq!(places(None), [0, 0, 1]);
        assert_eq!(places(Some(1)), [0, 1, 1]);
        let mut differing = pages();
        differing[1].entries[0] = file("b", 2);
        assert_eq!(merge(differing, 9, Some(1)).entries[1], (0, file("b", 1)));
    }

    proptest! {
        #[test]
        fn pages_together_show_every_name_once(
            nodes in prop::collection::vec(prop::collection::btree_set("[a-d]{1,2}", 0..12), 0..4),
            limit in 1_usize..5,
        ) {
            let mut seen = Vec::new();
            let mut after: Option<String> = None;
            loop {
                let pages = nodes.iter().map(|names| page(names, after.as_deref(), limit));
                let merged = merge(pages.collect(), limit, None);
                prop_assert!(merged.entries.len() <= limit);
                for (place, found) in &merged.entries {
                    prop_assert!(nodes[*place].contains(&found.name));
                }
                seen.extend(merged.entries.into_iter().map(|(_, found)| found.name));
                match merged.last {
                    Some(last) => {
                        prop_assert!(after.is_none_or(|after| after < last), "no progress");
                        after = Some(last);
                    }
                    None => break,
                }
            }
            let all: BTreeSet<String> = nodes.into_iter().flatten().collect();
            prop_assert_eq!(seen, all.into_iter().collect::<Vec<_>>());
        }
    }
}
