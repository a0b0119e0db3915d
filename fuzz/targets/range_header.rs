//! `Range` headers: a part lies inside the file, whatever the file's length.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lote_api::fuzzing::part_of_file;

const LENGTHS: [u64; 5] = [0, 1, 10, 1 << 40, u64::MAX];

fuzz_target!(|header: &str| {
    for length in LENGTHS {
        if let Some((first, last)) = part_of_file(header, length) {
            assert!(first <= last && last < length, "{first}-{last}/{length}");
        }
    }
});
