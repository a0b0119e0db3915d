//! What a job does with one GPU, added up sample by sample. Pure: time is an argument.

use jiff::{SignedDuration, Timestamp};
use lote_model::accounting::GpuAccount;
use lote_model::id::NodeName;
use lote_model::sample::GpuSample;
use serde::{Deserialize, Serialize};

/// A sample stands for the time since the one before, if that is no longer than this; otherwise
/// nobody looked meanwhile, and what was not seen is not made up.
const GAP_MAX: SignedDuration = SignedDuration::from_secs(5);

/// The account of one GPU as it grows. It is written to disk now and then, so that a daemon that
/// is started again goes on with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Meter {
    uuid: String,
    model: String,
    since: Timestamp,
    last: Option<Timestamp>,
    utilization: Mean,
    memory: Mean,
    /// The energy counter: where it stood first, and last.
    counter: Option<(u64, u64)>,
    /// What the counter had counted before it began anew with a new driver.
    energy_before_millijoules: u64,
    /// From the power, for GPUs without a counter.
    power_millijoules: Option<f64>,
    throttled_seconds: Option<f64>,
}

/// A mean over time, and the peak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Mean {
    /// Values times seconds.
    sum: f64,
    seconds: f64,
    /// For a job that ends before any time has passed.
    first: Option<u64>,
    peak: Option<u64>,
}

impl Mean {
    fn add(&mut self, value: Option<u64>, seconds: f64) {
        let Some(value) = value else { return };
        self.sum += as_float(value) * seconds;
        self.seconds += seconds;
        self.first = self.first.or(Some(value));
        self.peak = self.peak.max(Some(value));
    }

    fn value(&self) -> Option<f64> {
        if self.seconds > 0.0 {
            // Adding up is not exact, and no mean is above the peak.
            let peak = self.peak.map_or(f64::INFINITY, as_float);
            return Some((self.sum / self.seconds).min(peak));
        }
        self.first.map(as_float)
    }
}

impl Meter {
    /// A job gets the GPU.
    pub(super) fn new(uuid: &str, model: &str, now: Timestamp) -> Self {
        Self {
            uuid: uuid.to_owned(),
            model: model.to_owned(),
            since: now,
            last: None,
            utilization: Mean::default(),
            memory: Mean::default(),
            counter: None,
            energy_before_millijoules: 0,
            power_millijoules: None,
            throttled_seconds: None,
        }
    }

    /// The GPU's id.
    pub(super) fn uuid(&self) -> &str {
        &self.uuid
    }

    /// When the job got it.
    pub(super) fn since(&self) -> Timestamp {
        self.since
    }

    /// What the GPU did since the last sample.
    pub(super) fn add(&mut self, sample: &GpuSample, at: Timestamp) {
        let since_last = self.last.map(|last| at.duration_since(last));
        let covered = since_last.filter(|gap| *gap <= GAP_MAX && !gap.is_negative());
        let seconds = covered.map_or(0.0, |gap| gap.as_secs_f64());
        self.last = self.last.max(Some(at));
        self.utilization
            .add(sample.utilization.map(u64::from), seconds);
        self.memory.add(sample.memory_used_bytes, seconds);
        if let Some(milliwatts) = sample.power_milliwatts {
            *self.power_millijoules.get_or_insert(0.0) += f64::from(milliwatts) * seconds;
        }
        if let Some(throttled) = sample.throttled {
            let time = if throttled { seconds } else { 0.0 };
            *self.throttled_seconds.get_or_insert(0.0) += time;
        }
    }

    /// Where the energy counter stands.
    pub(super) fn count_energy(&mut self, millijoules: u64) {
        let (first, last) = self.counter.unwrap_or((millijoules, millijoules));
        self.counter = Some(if millijoules >= last {
            (first, millijoules)
        } else {
            // It counts from the start of the driver, which was another one.
            self.energy_before_millijoules += last - first;
            (0, millijoules)
        });
    }

    fn energy_joules(&self) -> Option<f64> {
        let counted = self
            .counter
            .map(|(first, last)| last - first + self.energy_before_millijoules);
        let millijoules = counted.map(as_float).or(self.power_millijoules)?;
        Some(millijoules / 1_000.0)
    }

    /// What the job has used up to now.
    pub(super) fn account(&self, node: &NodeName, now: Timestamp) -> GpuAccount {
        GpuAccount {
            node: node.clone(),
            uuid: self.uuid.clone(),
            model: self.model.clone(),
            seconds: now.duration_since(self.since).as_secs_f64().max(0.0),
            utilization_mean: self.utilization.value(),
            utilization_peak: self
                .utilization
                .peak
                .and_then(|peak| u32::try_from(peak).ok()),
            memory_mean_bytes: self.memory.value().map(whole),
            memory_peak_bytes: self.memory.peak,
            energy_joules: self.energy_joules(),
            throttled_seconds: self.throttled_seconds,
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a mean of bytes needs no more than 53 bits"
)]
fn as_float(value: u64) -> f64 {
    value as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a mean of numbers that were whole and not negative"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + milliseconds).unwrap()
    }

    fn busy(utilization: u32, memory: u64, watts: u32) -> GpuSample {
        GpuSample {
            utilization: Some(utilization),
            memory_used_bytes: Some(memory),
            power_milliwatts: Some(watts * 1_000),
            throttled: Some(utilization == 100),
            ..GpuSample::default()
        }
    }

    fn account(meter: &Meter, now: i64) -> GpuAccount {
        meter.account(&NodeName::new("n"), at(now))
    }

    #[test]
    fn means_are_over_time_and_peaks_are_kept() {
        let mut meter = Meter::new("GPU-0", "H100", at(0));
        meter.add(&busy(0, 0, 100), at(0));
        meter.add(&busy(100, 4_000, 500), at(1_000));
        meter.add(&busy(50, 1_000, 300), at(4_000));
        let found = account(&meter, 5_000);
        assert_eq!(found.utilization_mean, Some((100.0 + 50.0 * 3.0) / 4.0));
        assert_eq!(found.utilization_peak, Some(100));
        assert_eq!(
            (found.memory_mean_bytes, found.memory_peak_bytes),
            (Some(1_750), Some(4_000))
        );
        assert_eq!(found.throttled_seconds, Some(1.0));
        assert_eq!(found.seconds.to_bits(), 5.0_f64.to_bits());
        // 500 W for a second and 300 W for three.
        assert_eq!(found.energy_joules, Some(1_400.0));
    }

    #[test]
    fn the_counter_wins_over_the_power_and_may_begin_anew() {
        let mut meter = Meter::new("GPU-0", "H100", at(0));
        meter.add(&busy(1, 1, 100), at(0));
        meter.add(&busy(1, 1, 100), at(1_000));
        meter.count_energy(7_000_000);
        meter.count_energy(7_050_000);
        assert_eq!(account(&meter, 1_000).energy_joules, Some(50.0));
        meter.count_energy(20_000);
        assert_eq!(account(&meter, 1_000).energy_joules, Some(70.0));
    }

    #[test]
    fn a_job_shorter_than_a_sample_has_one_reading() {
        let mut meter = Meter::new("GPU-0", "H100", at(0));
        meter.add(&busy(30, 512, 100), at(200));
        let found = account(&meter, 250);
        assert_eq!(
            (found.utilization_mean, found.memory_peak_bytes),
            (Some(30.0), Some(512))
        );
        let silent = account(&Meter::new("GPU-0", "H100", at(0)), 250);
        assert_eq!(
            (silent.utilization_mean, silent.energy_joules),
            (None, None)
        );
    }

    #[test]
    fn what_nobody_saw_is_not_made_up() {
        let mut meter = Meter::new("GPU-0", "H100", at(0));
        meter.add(&busy(100, 8, 100), at(0));
        meter.add(&busy(100, 8, 100), at(1_000));
        // The daemon was away for a minute.
        let text = serde_json::to_string(&meter).unwrap();
        let mut meter: Meter = serde_json::from_str(&text).unwrap();
        meter.add(&busy(0, 8, 100), at(61_000));
        meter.add(&busy(0, 8, 100), at(62_000));
        let found = account(&meter, 62_000);
        assert_eq!(found.utilization_mean, Some(50.0));
        assert_eq!(found.seconds.to_bits(), 62.0_f64.to_bits());
        assert_eq!(found.energy_joules, Some(200.0));
    }

    proptest! {
        /// However the samples come, a mean is between the extremes and the energy not negative.
        #[test]
        fn an_account_is_within_what_was_seen(
            samples in prop::collection::vec((0_i64..9_000, 0_u32..101, 0_u64..9), 1..50),
            counters in prop::collection::vec(0_u64..1_000_000, 0..9),
        ) {
            let mut meter = Meter::new("GPU-0", "H100", at(0));
            let mut now = 0;
            for (step, utilization, memory) in &samples {
                now += step - 1_000;
                meter.add(&busy(*utilization, *memory, 1), at(now));
            }
            for counter in counters {
                meter.count_energy(counter);
            }
            let found = account(&meter, now);
            let peak = samples.iter().map(|sample| sample.1).max();
            prop_assert_eq!(found.utilization_peak, peak);
            let mean = found.utilization_mean.unwrap();
            prop_assert!((0.0..=f64::from(peak.unwrap())).contains(&mean));
            prop_assert!(found.energy_joules.unwrap() >= 0.0 && found.seconds >= 0.0);
            prop_assert!(found.memory_mean_bytes <= found.memory_peak_bytes);
        }
    }
}
