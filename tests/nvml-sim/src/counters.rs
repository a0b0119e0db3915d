//! What grows with time: energy, and the time for which clocks were held back.
//!
//! Counters of a real driver go on when a program that reads them is killed. So they are kept in a
//! file beside the machine's, one place for each GPU. Nothing runs meanwhile: whoever looks
//! writes what it sees, and the next look counts the time since as if it had been like that.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::machine::{GPUS_MAX, fnv1a};

/// The length of a place: seven numbers and as much to spare.
const PLACE: usize = 64;

/// What the counter of a GPU shows that nobody has looked at yet, in microjoules: no real one
/// starts at zero.
const ENERGY_FIRST: u64 = 2_268_233_000;

/// The counters of one GPU, and what was seen last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Which GPU: a hash of its UUID; 0 for a place that is free.
    key: u64,
    /// When it was looked at, in nanoseconds of the clock on the wall.
    at: u64,
    /// In microjoules.
    pub(crate) energy: u64,
    /// Nanoseconds for which power held the clocks back.
    pub(crate) power_violation: u64,
    /// Nanoseconds for which heat did.
    pub(crate) thermal_violation: u64,
    /// What it drew then, in milliwatts.
    power: u64,
    /// What held its clocks back then: 1 for power, 2 for heat.
    held_back: u64,
}

/// What a look saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) watts: f64,
    pub(crate) power_violation: bool,
    pub(crate) thermal_violation: bool,
}

impl Counters {
    /// Counts up to `now` what was seen last, and remembers what is seen.
    fn advance(&mut self, key: u64, now: u64, seen: Seen) {
        if self.key != key {
            *self = Self {
                key,
                at: now,
                energy: ENERGY_FIRST,
                ..Self::default()
            };
        }
        self.go_on(now);
        self.power = milliwatts(seen.watts);
        self.held_back = u64::from(seen.power_violation) | (u64::from(seen.thermal_violation) << 1);
    }

    /// Counts up to `now` what was seen last.
    pub(crate) fn go_on(&mut self, now: u64) {
        // The clock may have been set back.
        let elapsed = now.saturating_sub(self.at);
        // Milliwatts times nanoseconds are picojoules.
        let picojoules = u128::from(self.power) * u128::from(elapsed);
        let energy = u64::try_from(picojoules / 1_000_000).unwrap_or(u64::MAX);
        self.energy = self.energy.saturating_add(energy);
        if self.held_back & 1 != 0 {
            self.power_violation += elapsed;
        }
        if self.held_back & 2 != 0 {
            self.thermal_violation += elapsed;
        }
        self.at = now;
    }

    fn fields(&self) -> [u64; 7] {
        [
            self.key,
            self.at,
            self.energy,
            self.power_violation,
            self.thermal_violation,
            self.power,
            self.held_back,
        ]
    }

    fn to_bytes(self) -> [u8; PLACE] {
        let mut bytes = [0; PLACE];
        for (place, field) in bytes.chunks_exact_mut(8).zip(self.fields()) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; PLACE]) -> Self {
        let mut fields = [0; 7];
        for (field, place) in fields.iter_mut().zip(bytes.chunks_exact(8)) {
            let mut number = [0; 8];
            number.copy_from_slice(place);
            *field = u64::from_le_bytes(number);
        }
        let [
            key,
            at,
            energy,
            power_violation,
            thermal_violation,
            power,
            held_back,
        ] = fields;
        Self {
            key,
            at,
            energy,
            power_violation,
            thermal_violation,
            power,
            held_back,
        }
    }
}

/// Watts in thousandths.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a power is positive, and no GPU draws gigawatts; casts saturate"
)]
pub(crate) fn milliwatts(watts: f64) -> u64 {
    (watts * 1000.0).round() as u64
}

/// Now, in nanoseconds.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// The file of counters; without one they live as long as this process.
#[derive(Debug)]
pub(crate) struct CounterFile {
    file: Option<File>,
    /// What was read or written last, by the GPU's number.
    last: Vec<Counters>,
}

impl CounterFile {
    /// The counters beside the file of a machine.
    pub(crate) fn beside(machine: &Path) -> Self {
        let mut name = machine.as_os_str().to_owned();
        name.push(".counters");
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(name);
        Self {
            file: file.ok(),
            last: vec![Counters::default(); GPUS_MAX],
        }
    }

    /// Counts for a GPU up to now, and answers its counters.
    pub(crate) fn look(&mut self, number: usize, uuid: &str, now: u64, seen: Seen) -> Counters {
        let Some(last) = self.last.get_mut(number) else {
            return Counters::default();
        };
        let offset = u64::try_from(number * PLACE).unwrap_or_default();
        let mut bytes = [0; PLACE];
        if let Some(file) = &self.file
            && file.read_exact_at(&mut bytes, offset).is_ok()
        {
            *last = Counters::from_bytes(&bytes);
        }
        last.advance(fnv1a(uuid.as_bytes()), now, seen);
        if let Some(file) = &self.file {
            // Without it the counters live in this process only, which is good enough.
            file.write_all_at(&last.to_bytes(), offset).ok();
        }
        *last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Seen = Seen {
        watts: 70.0,
        power_violation: false,
        thermal_violation: false,
    };
    const HOT: Seen = Seen {
        watts: 700.0,
        power_violation: false,
        thermal_violation: true,
    };
    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn time_counts_as_what_was_seen_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut counters = CounterFile::beside(&folder.path().join("machine"));
        let first = counters.look(3, "GPU-a", SECOND, IDLE);
        let second = counters.look(3, "GPU-a", 3 * SECOND, HOT);
        assert_eq!(second.energy - first.energy, 140_000_000);
        assert_eq!(second.thermal_violation, 0);
        let third = counters.look(3, "GPU-a", 4 * SECOND, IDLE);
        assert_eq!(third.energy - second.energy, 700_000_000);
        assert_eq!(third.thermal_violation, SECOND);
        assert_eq!(third.power_violation, 0);
    }

    #[test]
    fn counters_go_on_in_the_next_process_and_for_another_gpu_anew() {
        let folder = tempfile::tempdir().unwrap();
        let machine = folder.path().join("machine");
        CounterFile::beside(&machine).look(0, "GPU-a", SECOND, HOT);
        let mut next = CounterFile::beside(&machine);
        let energy = next.look(0, "GPU-a", 2 * SECOND, HOT).energy;
        assert_eq!(energy, ENERGY_FIRST + 700_000_000);
        assert_eq!(next.look(0, "GPU-b", 9 * SECOND, HOT).energy, ENERGY_FIRST);
    }

    #[test]
    fn a_clock_that_is_set_back_takes_nothing_away() {
        let folder = tempfile::tempdir().unwrap();
        let mut counters = CounterFile::beside(&folder.path().join("machine"));
        let first = counters.look(0, "GPU-a", 9 * SECOND, HOT);
        let second = counters.look(0, "GPU-a", SECOND, HOT);
        assert_eq!(first.energy, second.energy);
    }
}
