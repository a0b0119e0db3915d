//! What is known of the node's GPUs and of the jobs that have them. Pure: what was read, and
//! when, are arguments.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use lote_model::accounting::GpuAccount;
use lote_model::gpu::{Gpu, GpuDistance, GpuDriver};
use lote_model::id::{JobUid, NodeName};
use lote_model::node::{Capability, Condition};
use lote_model::sample::{GpuSample, JobSample, NodeSample};
use tokio::sync::watch;

use super::driver::{
    ActivityReading, DriverError, GpuEvent, HealthReading, MachineReading, OccupancyReading, Place,
    SlowReading,
};
use super::health::{Breakdown, Health};
use super::ledger::Cause;
use super::meter::Meter;
use super::occupancy::{IdleMemory, Occupancy, Processes, judge};
use super::ring::Ring;
use super::sysfs::Sysfs;
use super::topology::{Inventory, Unit};
use super::xid;

/// Something must be found on a GPU without a job so many times in a row: what has just ended
/// may be found once.
const FOUND_TIMES: u32 = 2;

/// What the node's record says of its GPUs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    pub(crate) gpus: Vec<Gpu>,
    pub(crate) distances: Vec<Vec<GpuDistance>>,
    pub(crate) driver: Option<GpuDriver>,
    /// Whether GPUs can be told of at all.
    pub(crate) capability: Capability,
    /// What keeps jobs from the node.
    pub(crate) conditions: Vec<Condition>,
}

/// Whether the driver can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DriverState {
    /// It was never there: a node without GPUs.
    Absent(String),
    Works,
    /// It was there.
    Gone {
        reason: String,
        since: Timestamp,
    },
    Hangs {
        since: Timestamp,
    },
}

/// A GPU of a job failed, or is not fit for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GpuFailure {
    pub(crate) code: &'static str,
    pub(crate) uuid: String,
    pub(crate) bus_id: Option<String>,
    pub(crate) xid: Option<u64>,
    pub(crate) sentence: String,
}

/// The code of a failure while a job runs.
pub(crate) const GPU_FAILED: &str = "GpuFailed";

/// What was read of one GPU or instance.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) uuid: String,
    pub(super) activity: Option<Result<ActivityReading, DriverError>>,
    pub(super) health: Option<Result<HealthReading, DriverError>>,
    pub(super) occupancy: Option<Result<OccupancyReading, DriverError>>,
}

/// One job's part on this node.
#[derive(Debug)]
struct Hold {
    job: JobUid,
    uuids: Vec<String>,
    failure: watch::Sender<Option<GpuFailure>>,
    meters: Vec<Meter>,
    /// The directories of its control group, once there is one.
    groups: Vec<PathBuf>,
    ring: Ring,
}

/// What is known.
#[derive(Debug)]
pub(super) struct Book {
    inventory: Inventory,
    state: DriverState,
    /// Of GPUs and of instances.
    health: BTreeMap<String, Health>,
    idle: BTreeMap<String, IdleMemory>,
    found: BTreeMap<String, u32>,
    /// What is read seldom, as it was read last.
    slow: BTreeMap<String, SlowReading>,
    sample: Option<Arc<NodeSample>>,
    holds: BTreeMap<u64, Hold>,
    next_hold: u64,
    /// Whether every GPU that an allocation names has its hold.
    knows_allocations: bool,
}

impl Book {
    /// With what an earlier daemon found.
    pub(super) fn new(earlier: Inventory, now: Timestamp) -> Self {
        let reason = "not looked for yet".to_owned();
        let state = if earlier.devices.is_empty() {
            DriverState::Absent(reason)
        } else {
            DriverState::Gone { reason, since: now }
        };
        Self {
            inventory: earlier,
            state,
            health: BTreeMap::new(),
            idle: BTreeMap::new(),
            found: BTreeMap::new(),
            slow: BTreeMap::new(),
            sample: None,
            holds: BTreeMap::new(),
            next_hold: 0,
            knows_allocations: false,
        }
    }

    pub(super) fn state(&self) -> &DriverState {
        &self.state
    }

    pub(super) fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// The driver was loaded, for the first time or anew.
    pub(super) fn loaded(&mut self) {
        self.state = DriverState::Works;
        self.health.values_mut().for_each(Health::reset);
        self.slow.clear();
    }

    /// There is no driver, or none any more.
    pub(super) fn unusable(&mut self, reason: String, now: Timestamp) {
        self.state = match &self.state {
            DriverState::Absent(_) => DriverState::Absent(reason),
            DriverState::Gone { since, .. } => DriverState::Gone {
                reason,
                since: *since,
            },
            // It hung before it said anything.
            DriverState::Hangs { .. } if self.inventory.devices.is_empty() => {
                DriverState::Absent(reason)
            }
            DriverState::Works | DriverState::Hangs { .. } => {
                DriverState::Gone { reason, since: now }
            }
        };
        self.sample = None;
    }

    /// A call has not come back.
    pub(super) fn hangs(&mut self, now: Timestamp) {
        if !matches!(self.state, DriverState::Hangs { .. }) {
            self.state = DriverState::Hangs { since: now };
        }
        // What was so before is not known to be so.
        self.sample = None;
    }

    /// It came back.
    pub(super) fn answers(&mut self) {
        if matches!(self.state, DriverState::Hangs { .. }) {
            self.state = DriverState::Works;
        }
    }

    /// What the machine has.
    pub(super) fn machine(&mut self, reading: &MachineReading, sysfs: &Sysfs, now: Timestamp) {
        self.inventory.forget(|bus_id| sysfs.is_given_away(bus_id));
        let numa_node = |bus_id: &str| sysfs.numa_node_of(bus_id);
        self.inventory = Inventory::new(reading, &self.inventory, numa_node);
        let answers = |uuid: &str| reading.devices.iter().any(|device| device.uuid == uuid);
        let devices = self.inventory.devices.iter();
        let silent = devices.filter(|device| !answers(device.place.uuid()));
        let silent: Vec<String> = silent
            .map(|device| device.place.uuid().to_owned())
            .collect();
        for uuid in silent {
            self.error(&uuid, &DriverError::Lost, now);
        }
        let known = |uuid: &String| {
            let mut places = self.inventory.places();
            places.any(|place| place.uuid() == uuid)
        };
        self.health.retain(|uuid, _| known(uuid));
        self.idle.retain(|uuid, _| known(uuid));
        self.found.retain(|uuid, _| known(uuid));
    }

    /// The driver said something unasked.
    pub(super) fn event(&mut self, event: &GpuEvent, now: Timestamp) {
        let (GpuEvent::Xid { uuid, .. } | GpuEvent::UncorrectedEcc { uuid }) = event;
        let breakdown = self.health_of(uuid).event(event, now);
        // Which of its instances, the event does not say; what is contained reaches one of them.
        let is_contained =
            matches!(event, GpuEvent::Xid { number, .. } if *number == xid::CONTAINED);
        let is_divided = !self
            .inventory
            .units
            .iter()
            .any(|unit| unit.gpu.uuid == *uuid);
        self.breakdown(uuid, breakdown.filter(|_| !(is_contained && is_divided)));
    }

    /// What was read in one round. The processes of GPUs without a job are looked up.
    pub(super) fn round(
        &mut self,
        answers: Vec<Answer>,
        processes: &dyn Processes,
        now: Timestamp,
    ) {
        let mut samples = BTreeMap::new();
        for answer in answers {
            let uuid = answer.uuid;
            match answer.activity {
                Some(Ok(reading)) => {
                    let sample = self.activity(&uuid, &reading, now);
                    samples.insert(uuid.clone(), sample);
                }
                Some(Err(error)) => self.error(&uuid, &error, now),
                None => {}
            }
            match answer.health {
                Some(Ok(reading)) => {
                    let breakdown = self.health_of(&uuid).reading(&reading, now);
                    self.breakdown(&uuid, breakdown);
                }
                Some(Err(error)) => self.error(&uuid, &error, now),
                None => {}
            }
            if let Some(Ok(reading)) = answer.occupancy {
                self.occupancy(&uuid, &reading, processes, now);
            }
        }
        for health in self.health.values_mut() {
            health.ledger.expire(now);
        }
        self.sample = Some(Arc::new(NodeSample {
            at: now,
            gpus: samples,
        }));
    }

    /// What one GPU does, for the account of the job that has it.
    pub(super) fn activity(
        &mut self,
        uuid: &str,
        reading: &ActivityReading,
        now: Timestamp,
    ) -> GpuSample {
        let breakdown = self.health_of(uuid).activity(reading, now);
        self.breakdown(uuid, breakdown);
        if let Some(slow) = &reading.slow {
            self.slow.insert(uuid.to_owned(), slow.clone());
        }
        let last_xid = self.health_of(uuid).last_xid;
        let sample = sample(reading, self.slow.get(uuid), last_xid.unwrap_or(0));
        let energy = reading
            .slow
            .as_ref()
            .and_then(|slow| slow.energy_millijoules);
        let meters = self.holds.values_mut().flat_map(|hold| &mut hold.meters);
        for meter in meters.filter(|meter| meter.uuid() == uuid) {
            meter.add(&sample, now);
            if let Some(millijoules) = energy {
                meter.count_energy(millijoules);
            }
        }
        sample
    }

    /// A GPU gave no answer.
    pub(super) fn error(&mut self, uuid: &str, error: &DriverError, now: Timestamp) {
        let breakdown = self.health_of(uuid).error(error, now);
        self.breakdown(uuid, breakdown);
    }

    /// Who uses a GPU, unless a job has got it meanwhile. What is found must be found again.
    fn occupancy(
        &mut self,
        uuid: &str,
        reading: &OccupancyReading,
        processes: &dyn Processes,
        now: Timestamp,
    ) {
        if self.is_held(uuid) || !self.knows_allocations {
            self.found.remove(uuid);
            return;
        }
        let idle = self.idle.entry(uuid.to_owned()).or_default();
        let occupancy = judge(reading, idle, processes);
        let found = self.found.entry(uuid.to_owned()).or_default();
        *found = if occupancy.message().is_some() {
            *found + 1
        } else {
            0
        };
        if *found == 0 || *found >= FOUND_TIMES {
            self.occupied(uuid, &occupancy, now);
        }
    }

    /// The same for a job that has just ended there, or is about to start.
    pub(super) fn inspect(
        &mut self,
        uuid: &str,
        reading: &OccupancyReading,
        processes: &dyn Processes,
    ) -> Occupancy {
        let idle = self.idle.entry(uuid.to_owned()).or_default();
        judge(reading, idle, processes)
    }

    /// Says who is on a GPU that no job has, or that nobody is.
    pub(super) fn occupied(&mut self, uuid: &str, occupancy: &Occupancy, now: Timestamp) {
        let cause = match occupancy {
            Occupancy::Free | Occupancy::Leaving => None,
            Occupancy::Strangers(_) => Some(Cause::ForeignProcess),
            Occupancy::MemoryHeld { .. } => Some(Cause::MemoryHeld),
        };
        let ledger = &mut self.health_of(uuid).ledger;
        for known in [
            Cause::ForeignProcess,
            Cause::MemoryHeld,
            Cause::CheckOccupied,
        ] {
            if Some(known) != cause {
                ledger.clear(known);
            }
        }
        if let (Some(cause), Some(message)) = (cause, occupancy.message()) {
            ledger.note(cause, message, now);
        }
    }

    /// The check before a job failed, for this cause.
    pub(super) fn unfit(&mut self, uuid: &str, cause: Cause, message: &str, now: Timestamp) {
        self.health_of(uuid).ledger.note(cause, message, now);
    }

    fn health_of(&mut self, uuid: &str) -> &mut Health {
        // Most of the time it is there, and the name need not be copied.
        if !self.health.contains_key(uuid) {
            self.health.insert(uuid.to_owned(), Health::default());
        }
        self.health.entry(uuid.to_owned()).or_default()
    }

    /// Tells the jobs that have the GPU, or a part of it, that it failed.
    fn breakdown(&mut self, device: &str, breakdown: Option<Breakdown>) {
        let Some(breakdown) = breakdown else { return };
        tracing::error!(gpu = device, "{}", breakdown.sentence);
        for hold in self.holds.values() {
            let units = self.inventory.units.iter();
            let hit = units
                .filter(|unit| unit.device_uuid() == device)
                .find(|unit| hold.uuids.contains(&unit.gpu.uuid));
            if let Some(unit) = hit {
                hold.fail(failure_of(unit, &breakdown));
            }
        }
    }

    /// The allocations of this node are known, and have their holds.
    pub(super) fn allocations_are_known(&mut self) {
        self.knows_allocations = true;
    }

    /// A job has these GPUs from now on.
    pub(super) fn hold(
        &mut self,
        job: JobUid,
        uuids: Vec<String>,
    ) -> (u64, watch::Receiver<Option<GpuFailure>>) {
        let (failure, failed) = watch::channel(None);
        let hold = Hold {
            job,
            uuids,
            failure,
            meters: Vec::new(),
            groups: Vec::new(),
            ring: Ring::default(),
        };
        for uuid in &hold.uuids {
            let unit = self
                .inventory
                .units
                .iter()
                .find(|unit| unit.gpu.uuid == *uuid);
            let Some(unit) = unit else { continue };
            let ledger = self.health.get(unit.device_uuid());
            // It fell off while no daemon was here.
            if ledger.is_some_and(Health::is_silent) {
                let breakdown = Breakdown {
                    xid: None,
                    sentence: "the GPU does not answer any more; restart the machine".to_owned(),
                };
                hold.fail(failure_of(unit, &breakdown));
            }
        }
        let id = self.next_hold;
        self.next_hold += 1;
        self.holds.insert(id, hold);
        (id, failed)
    }

    /// The job's account begins, or goes on with what an earlier daemon counted.
    pub(super) fn begin(
        &mut self,
        hold: u64,
        earlier: &[Meter],
        groups: Vec<PathBuf>,
        now: Timestamp,
    ) {
        let Some(hold) = self.holds.get_mut(&hold) else {
            return;
        };
        let model = |uuid: &str| {
            let unit = self
                .inventory
                .units
                .iter()
                .find(|unit| unit.gpu.uuid == uuid);
            unit.map_or("", |unit| unit.gpu.model.as_str())
        };
        let meter = |uuid: &String| {
            let known = earlier.iter().find(|meter| meter.uuid() == uuid);
            known
                .cloned()
                .unwrap_or_else(|| Meter::new(uuid, model(uuid), now))
        };
        hold.meters = hold.uuids.iter().map(meter).collect();
        hold.groups = groups;
    }

    /// The job is over, and the GPUs are anybody's.
    pub(super) fn release(&mut self, hold: u64) {
        self.holds.remove(&hold);
    }

    pub(super) fn meters(&self, hold: u64) -> Vec<Meter> {
        let hold = self.holds.get(&hold);
        hold.map(|hold| hold.meters.clone()).unwrap_or_default()
    }

    pub(super) fn account(&self, hold: u64, node: &NodeName, now: Timestamp) -> Vec<GpuAccount> {
        let meters = self.meters(hold);
        meters
            .iter()
            .map(|meter| meter.account(node, now))
            .collect()
    }

    /// The places of a job's GPUs.
    pub(super) fn places_of(&self, hold: u64) -> Vec<Place> {
        let uuids = self.holds.get(&hold).map(|hold| &hold.uuids);
        let units = self.inventory.units.iter();
        let own = units.filter(|unit| uuids.is_some_and(|uuids| uuids.contains(&unit.gpu.uuid)));
        own.map(|unit| unit.place.clone()).collect()
    }

    pub(super) fn bus_id(&self, uuid: &str) -> Option<String> {
        let unit = self
            .inventory
            .units
            .iter()
            .find(|unit| unit.gpu.uuid == uuid);
        unit?.gpu.bus_id.clone()
    }

    pub(super) fn is_held(&self, uuid: &str) -> bool {
        let mut held = self.holds.values().flat_map(|hold| &hold.uuids);
        held.any(|held| held == uuid)
    }

    /// Whether a GPU is to be asked who uses it: no job has it, and it is not divided.
    pub(super) fn is_to_be_inspected(&self, uuid: &str) -> bool {
        let mut units = self.inventory.units.iter();
        self.knows_allocations && !self.is_held(uuid) && units.any(|unit| unit.gpu.uuid == uuid)
    }

    /// The jobs and their control groups; those without GPUs only if `all`.
    pub(super) fn groups(&self, all: bool) -> Vec<(u64, Vec<PathBuf>)> {
        let holds = self.holds.iter();
        let begun = holds.filter(|(_, hold)| !hold.groups.is_empty() || !hold.meters.is_empty());
        begun
            .filter(|(_, hold)| all || !hold.uuids.is_empty())
            .map(|(id, hold)| (*id, hold.groups.clone()))
            .collect()
    }

    /// What a job did just now: its control group, and what was read of its GPUs last.
    pub(super) fn job_sample(
        &mut self,
        hold: u64,
        cpu_seconds: Option<f64>,
        memory_bytes: Option<u64>,
        now: Timestamp,
    ) {
        let Some(hold) = self.holds.get_mut(&hold) else {
            return;
        };
        let node = self.sample.as_deref();
        let gpu = |uuid: &String| Some((uuid.clone(), node?.gpus.get(uuid)?.clone()));
        hold.ring.push(JobSample {
            at: now,
            cpu_seconds,
            memory_bytes,
            gpus: hold.uuids.iter().filter_map(gpu).collect(),
        });
    }

    /// The last sample, if the driver answers.
    pub(super) fn node_sample(&self) -> Option<Arc<NodeSample>> {
        self.sample.clone()
    }

    /// The samples of a running job, the oldest first.
    pub(super) fn series(&self, job: &JobUid) -> Option<Vec<JobSample>> {
        let mut holds = self.holds.values().rev();
        holds
            .find(|hold| hold.job == *job)
            .map(|hold| hold.ring.samples())
    }

    /// What the node's record says.
    pub(super) fn view(&self) -> View {
        View {
            gpus: self
                .inventory
                .units
                .iter()
                .map(|unit| self.shown(unit))
                .collect(),
            distances: self.inventory.distances.clone(),
            driver: self.inventory.driver.clone(),
            capability: self.capability(),
            conditions: self.conditions(),
        }
    }

    fn shown(&self, unit: &Unit) -> Gpu {
        let mut gpu = unit.gpu.clone();
        let own = std::iter::once(gpu.uuid.as_str());
        let parent = gpu.mig.as_ref().map(|mig| mig.parent.as_str());
        let ledgers = own.chain(parent).filter_map(|uuid| self.health.get(uuid));
        let conditions = ledgers.flat_map(|health| health.ledger.conditions());
        gpu.conditions = conditions.collect();
        gpu
    }

    fn capability(&self) -> Capability {
        let (in_force, note) = match (&self.state, &self.inventory.driver) {
            (DriverState::Works, Some(driver)) => {
                let count = self.inventory.units.len();
                (true, format!("driver {}, {count} GPUs", driver.version))
            }
            (DriverState::Works, None) => (false, "no GPUs: the driver names none".to_owned()),
            (DriverState::Absent(reason), _) => (false, format!("no GPUs: {reason}")),
            (DriverState::Gone { reason, .. }, _) => (false, reason.clone()),
            (DriverState::Hangs { .. }, _) => (false, "the driver does not answer".to_owned()),
        };
        Capability {
            name: "NVML".into(),
            in_force,
            note,
        }
    }

    fn conditions(&self) -> Vec<Condition> {
        let driver = match &self.state {
            DriverState::Hangs { since } => Some((
                "GpuDriverHangs",
                "the driver of the GPUs does not answer, so nothing is known of them; if this \
                 stays so, restart the machine"
                    .to_owned(),
                *since,
            )),
            DriverState::Gone { reason, since } => Some((
                "GpuDriverGone",
                format!("the driver of the GPUs is gone ({reason}); load it again"),
                *since,
            )),
            DriverState::Absent(_) | DriverState::Works => None,
        };
        let driver = driver.map(|(code, message, since)| Condition {
            code: code.to_owned(),
            message,
            blocks_jobs: true,
            since,
        });
        let drains = self.inventory.devices.iter().flat_map(|device| {
            let health = self.health.get(device.place.uuid());
            let name = format!("GPU {} ({})", device.minor, device.bus_id);
            let drains = health.map(|health| health.ledger.drains(&name).collect::<Vec<_>>());
            drains.unwrap_or_default()
        });
        driver.into_iter().chain(drains).collect()
    }
}

impl Hold {
    /// The first failure is the one that counts.
    fn fail(&self, failure: GpuFailure) {
        self.failure.send_if_modified(|known| {
            let is_first = known.is_none();
            known.get_or_insert(failure);
            is_first
        });
    }
}

fn failure_of(unit: &Unit, breakdown: &Breakdown) -> GpuFailure {
    GpuFailure {
        code: GPU_FAILED,
        uuid: unit.gpu.uuid.clone(),
        bus_id: unit.gpu.bus_id.clone(),
        xid: breakdown.xid,
        sentence: breakdown.sentence.clone(),
    }
}

fn sample(reading: &ActivityReading, slow: Option<&SlowReading>, last_xid: u64) -> GpuSample {
    GpuSample {
        utilization: reading.utilization,
        memory_utilization: reading.memory_utilization,
        memory_used_bytes: reading.memory_used_bytes,
        memory_free_bytes: reading.memory_free_bytes,
        power_milliwatts: reading.power_milliwatts,
        energy_millijoules: slow.and_then(|slow| slow.energy_millijoules),
        temperature_celsius: slow.and_then(|slow| slow.temperature_celsius),
        sm_clock_mhz: reading.sm_clock_mhz,
        memory_clock_mhz: reading.memory_clock_mhz,
        throttled: reading.throttle.map(super::driver::Throttle::any),
        last_xid: Some(last_xid),
        ecc_corrected: slow.and_then(|slow| slow.ecc_corrected),
        ecc_uncorrected: slow.and_then(|slow| slow.ecc_uncorrected),
    }
}
