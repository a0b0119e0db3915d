//! A driver of a test, which says what it is told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::driver::{
    ActivityReading, Ancestor, DeviceReading, Driver, DriverError, GpuEvent, HealthReading,
    LoadDriver, MachineReading, OccupancyReading, Place, SlowReading,
};

/// What the driver says, and what happens when it is asked.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) machine: MachineReading,
    pub(super) activity: BTreeMap<String, ActivityReading>,
    pub(super) health: BTreeMap<String, HealthReading>,
    pub(super) occupancy: BTreeMap<String, OccupancyReading>,
    /// GPUs that do not answer.
    pub(super) lost: Vec<String>,
    pub(super) events: Vec<GpuEvent>,
    /// Whether there is no driver.
    pub(super) is_absent: bool,
    /// Whether calls do not come back.
    pub(super) hangs: bool,
    /// How often a driver was loaded.
    pub(super) loads: u32,
    /// How often each GPU was asked for what takes milliseconds.
    pub(super) slow_calls: BTreeMap<String, u32>,
}

/// A driver whose script can be changed while it is in use.
#[derive(Clone, Debug, Default)]
pub(super) struct Fake(Arc<(Mutex<Script>, Condvar)>);

impl Fake {
    /// A driver of these GPUs, all idle.
    pub(super) fn new(machine: MachineReading) -> Self {
        let fake = Self::default();
        fake.change(|script| {
            for device in &machine.devices {
                let memory_total_bytes = Some(device.memory_bytes);
                let idle = OccupancyReading {
                    memory_used_bytes: Some(0),
                    memory_total_bytes,
                    pids: Vec::new(),
                };
                script.occupancy.insert(device.uuid.clone(), idle);
                let idle = ActivityReading {
                    utilization: Some(0),
                    memory_used_bytes: Some(0),
                    power_milliwatts: Some(70_000),
                    slow: Some(SlowReading {
                        energy_millijoules: Some(1_000),
                        temperature_celsius: Some(30),
                        ecc_corrected: Some(0),
                        ecc_uncorrected: Some(0),
                    }),
                    ..ActivityReading::default()
                };
                script.activity.insert(device.uuid.clone(), idle);
            }
            script.machine = machine;
        });
        fake
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        let changed = change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
        changed
    }

    /// Waits as long as calls hang, then reads the script.
    fn ask<T>(&self, read: impl FnOnce(&mut Script) -> T) -> T {
        let script = self.0.0.lock().unwrap();
        let mut script = self.0.1.wait_while(script, |script| script.hangs).unwrap();
        read(&mut script)
    }

    fn of<T: Clone + Default>(
        &self,
        place: &Place,
        read: impl FnOnce(&mut Script) -> Option<T>,
    ) -> Result<T, DriverError> {
        self.ask(|script| {
            if script.is_absent {
                return Err(DriverError::Gone("unloaded".into()));
            }
            if script.lost.iter().any(|lost| lost == place.uuid()) {
                return Err(DriverError::Lost);
            }
            Ok(read(script).unwrap_or_default())
        })
    }
}

impl LoadDriver for Fake {
    fn load(&self) -> Result<Arc<dyn Driver>, DriverError> {
        self.ask(|script| {
            if script.is_absent {
                return Err(DriverError::Unusable("no such library".into()));
            }
            script.loads += 1;
            Ok(Arc::new(self.clone()) as Arc<dyn Driver>)
        })
    }
}

impl Driver for Fake {
    fn count(&self) -> Result<u32, DriverError> {
        self.ask(|script| Ok(script.machine.count))
    }

    fn machine(&self) -> Result<MachineReading, DriverError> {
        self.ask(|script| {
            let mut machine = script.machine.clone();
            let is_there = |device: &DeviceReading| !script.lost.contains(&device.uuid);
            let kept: Vec<bool> = machine.devices.iter().map(is_there).collect();
            let keep = |index: usize| kept.get(index).copied().unwrap_or(true);
            machine.devices.retain(is_there);
            let picked = |row: &Vec<Option<Ancestor>>| {
                let cells = row.iter().enumerate().filter(|(index, _)| keep(*index));
                cells.map(|(_, cell)| *cell).collect()
            };
            let rows = machine.ancestors.iter().enumerate();
            let rows = rows
                .filter(|(index, _)| keep(*index))
                .map(|(_, row)| picked(row));
            machine.ancestors = rows.collect();
            Ok(machine)
        })
    }

    fn activity(&self, place: &Place, slow: bool) -> Result<ActivityReading, DriverError> {
        let uuid = place.uuid();
        let mut reading = self.of(place, |script| {
            if slow {
                *script.slow_calls.entry(uuid.to_owned()).or_default() += 1;
            }
            script.activity.get(uuid).cloned()
        })?;
        reading.slow = reading.slow.filter(|_| slow);
        Ok(reading)
    }

    fn health(&self, place: &Place) -> Result<HealthReading, DriverError> {
        self.of(place, |script| script.health.get(place.uuid()).cloned())
    }

    fn occupancy(&self, place: &Place) -> Result<OccupancyReading, DriverError> {
        self.of(place, |script| script.occupancy.get(place.uuid()).cloned())
    }

    fn events(&self, tell: &mut dyn FnMut(Option<GpuEvent>) -> bool) -> Result<(), DriverError> {
        loop {
            let event = {
                let script = self.0.0.lock().unwrap();
                let wait = Duration::from_millis(50);
                let waited = |script: &mut Script| script.events.is_empty();
                let (mut script, _) = self.0.1.wait_timeout_while(script, wait, waited).unwrap();
                (!script.events.is_empty()).then(|| script.events.remove(0))
            };
            if !tell(event) {
                return Ok(());
            }
        }
    }
}
