//! Which user ids a container has. Pure.
//!
//! Root inside is the job's user outside. The other ids inside, of which packages need some, are
//! ids that nobody else on the machine has: a range for each workspace, from a part of the numbers
//! that systemd's list of user ids leaves unused.

use crate::isolation::Identity;
use lote_model::id::UnixId;

/// The id 0 of the first range; each range is as wide as all ids of a container.
const FIRST: u32 = 0x7000_0000;
const WIDTH: u32 = 0x1_0000;

/// systemd shows files of foreign systems as belonging to these, and signed numbers end here.
const FOREIGN: std::ops::Range<u32> = 0x7FFE_0000..0x8000_0000;

/// The last one that can be used for a whole range.
const LAST: u32 = 0xFFFE_0000;

/// The ids of a container of this user: lines of `uid_map` and `gid_map`.
pub(crate) fn mapping(identity: Identity) -> String {
    let own = format!("0 {} 1\n", identity.uid);
    match range(identity.uid) {
        Some(first) => format!("{own}1 {} {}\n", first + 1, WIDTH - 1),
        // There are ranges for tens of thousands of workspaces; the rest has root alone.
        None => own,
    }
}

/// Where the id 0 of the user's range would be.
fn range(user: u32) -> Option<u32> {
    let number = user.checked_sub(UnixId::FIRST.0)?;
    let first = number.checked_mul(WIDTH)?.checked_add(FIRST)?;
    let first = if first < FOREIGN.start {
        first
    } else {
        first.checked_add(FOREIGN.end - FOREIGN.start)?
    };
    (first < LAST).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(number: u32) -> String {
        let id = UnixId::FIRST.0 + number;
        mapping(Identity { uid: id, gid: id })
    }

    #[test]
    fn every_workspace_has_ids_of_its_own() {
        assert_eq!(of(0), "0 2000000 1\n1 1879048193 65535\n");
        assert_eq!(of(1), "0 2000001 1\n1 1879113729 65535\n");
        let mut last = 0;
        for number in 0..36_000 {
            let first = range(UnixId::FIRST.0 + number).unwrap();
            assert!(
                first >= last + WIDTH && !FOREIGN.contains(&first),
                "{number}"
            );
            last = first;
        }
    }

    #[test]
    fn where_there_are_no_more_ranges_root_is_alone() {
        assert_eq!(of(60_000), "0 2060000 1\n");
        assert_eq!(mapping(Identity { uid: 5, gid: 5 }), "0 5 1\n");
    }
}
