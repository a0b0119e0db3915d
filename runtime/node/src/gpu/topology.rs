//! From what the driver says to what the node's record says: GPUs and the ways between them. Pure.

use std::collections::BTreeMap;

use lote_model::gpu::{Gpu, GpuDistance, GpuDriver, MigInstance};
use serde::{Deserialize, Serialize};

use super::driver::{Ancestor, DeviceReading, InstanceReading, MachineReading, Place};

/// The GPUs of a node, and how each is found at the driver.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Inventory {
    pub(super) units: Vec<Unit>,
    /// In the order of the units.
    pub(super) distances: Vec<Vec<GpuDistance>>,
    pub(super) driver: Option<GpuDriver>,
    /// How many GPUs the driver counted.
    pub(super) count: u32,
    /// All GPUs, divided ones too.
    pub(super) devices: Vec<Device>,
}

/// What a job can be given as one GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Unit {
    /// Without its conditions.
    pub(super) gpu: Gpu,
    pub(super) place: Place,
}

/// A whole GPU, whether it is divided or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Device {
    pub(super) place: Place,
    pub(super) bus_id: String,
    pub(super) minor: u32,
}

impl Unit {
    /// The GPU that it is, or is a part of.
    pub(super) fn device_uuid(&self) -> &str {
        self.gpu
            .mig
            .as_ref()
            .map_or(&self.gpu.uuid, |mig| &mig.parent)
    }
}

impl Inventory {
    /// What the reading amounts to. `numa_node` says to which NUMA node a bus id belongs.
    ///
    /// What was there `earlier` and does not answer any more stays, with the distances that it
    /// had: it is ill, and the machine has not become another.
    pub(super) fn new(
        reading: &MachineReading,
        earlier: &Self,
        numa_node: impl Fn(&str) -> Option<u32>,
    ) -> Self {
        let mut units = Vec::new();
        // The number of the device in the reading that each unit is a part of.
        let mut owners = Vec::new();
        for (number, device) in reading.devices.iter().enumerate() {
            let new = units_of(device, numa_node(&device.bus_id));
            owners.extend(std::iter::repeat_n(Some(number), new.len()));
            units.extend(new);
        }
        let answers = |uuid: &str| reading.devices.iter().any(|device| device.uuid == uuid);
        let silent = earlier
            .units
            .iter()
            .filter(|unit| !answers(unit.device_uuid()));
        for unit in silent {
            owners.push(None);
            units.push(Unit {
                place: unit.place.without_index(),
                ..unit.clone()
            });
        }
        let links = Links::new(&reading.devices, &earlier.devices);
        let told = earlier.told_distances();
        let between = |from: usize, to: usize| match (owners[from], owners[to]) {
            (Some(from), Some(to)) => links.distance(reading, from, to),
            _ => told
                .get(&(units[from].place.uuid(), units[to].place.uuid()))
                .copied(),
        };
        let all = 0..units.len();
        let rows = all
            .clone()
            .map(|from| all.clone().map(|to| between(from, to)).collect());
        // Half a matrix is worse than none: what is missing would be taken for near or far.
        let distances = rows.collect::<Option<Vec<_>>>().unwrap_or_default();
        let silent = earlier
            .devices
            .iter()
            .filter(|device| !answers(device.place.uuid()))
            .map(|device| Device {
                place: device.place.without_index(),
                ..device.clone()
            });
        let devices = reading.devices.iter().map(|device| Device {
            place: place(device),
            bus_id: device.bus_id.to_ascii_lowercase(),
            minor: device.minor,
        });
        Self {
            devices: devices.chain(silent).collect(),
            driver: Some(GpuDriver {
                version: reading.driver_version.clone(),
                cuda_version: reading.cuda_version.map_or_else(String::new, cuda_version),
            }),
            count: reading.count,
            units,
            distances,
        }
        .in_order()
    }

    /// Everything that can be asked for: all GPUs, and the instances of those that are divided.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        let instances = self.units.iter().map(|unit| &unit.place);
        let instances = instances.filter(|place| matches!(place, Place::Instance { .. }));
        self.devices
            .iter()
            .map(|device| &device.place)
            .chain(instances)
    }

    /// Without the GPUs at these places on the bus.
    pub(super) fn forget(&mut self, is_forgotten: impl Fn(&str) -> bool) {
        let gone = self
            .devices
            .extract_if(.., |device| is_forgotten(&device.bus_id));
        let gone: Vec<Device> = gone.collect();
        let is_gone = |unit: &Unit| {
            let mut gone = gone.iter();
            gone.any(|device| device.place.uuid() == unit.device_uuid())
        };
        let kept: Vec<bool> = self.units.iter().map(|unit| !is_gone(unit)).collect();
        let mut rows = kept.iter().copied();
        self.units.retain(|_| rows.next().unwrap_or(true));
        let mut rows = kept.iter().copied();
        self.distances.retain(|_| rows.next().unwrap_or(true));
        for row in &mut self.distances {
            let mut cells = kept.iter().copied();
            row.retain(|_| cells.next().unwrap_or(true));
        }
    }

    /// By device file, so that a GPU has its place in the list whether it answers or not.
    fn in_order(mut self) -> Self {
        self.devices.sort_by_key(|device| device.minor);
        let mut order: Vec<usize> = (0..self.units.len()).collect();
        order.sort_by_key(|index| self.units[*index].gpu.minor);
        self.units = order
            .iter()
            .map(|index| self.units[*index].clone())
            .collect();
        let pick = |row: &Vec<GpuDistance>| order.iter().map(|index| row[*index]).collect();
        if !self.distances.is_empty() {
            self.distances = order
                .iter()
                .map(|index| pick(&self.distances[*index]))
                .collect();
        }
        self
    }

    fn told_distances(&self) -> BTreeMap<(&str, &str), GpuDistance> {
        let rows = self.units.iter().zip(&self.distances);
        let pairs = rows.flat_map(|(from, row)| {
            let cells = self.units.iter().zip(row);
            cells.map(|(to, distance)| ((from.place.uuid(), to.place.uuid()), *distance))
        });
        pairs.collect()
    }
}

fn place(device: &DeviceReading) -> Place {
    Place::Whole {
        index: Some(device.index),
        uuid: device.uuid.clone(),
    }
}

fn units_of(device: &DeviceReading, numa_node: Option<u32>) -> Vec<Unit> {
    let gpu = Gpu {
        uuid: device.uuid.clone(),
        model: device.model.clone(),
        minor: device.minor,
        memory_mib: device.memory_bytes >> 20,
        bus_id: Some(device.bus_id.to_ascii_lowercase()),
        numa_node,
        ..Gpu::default()
    };
    if !device.is_divided {
        return vec![Unit {
            gpu,
            place: place(device),
        }];
    }
    let instance = |instance: &InstanceReading| Unit {
        gpu: Gpu {
            uuid: instance.uuid.clone(),
            memory_mib: instance.memory_bytes >> 20,
            mig: Some(MigInstance {
                parent: device.uuid.clone(),
                gpu_instance: instance.gpu_instance,
                compute_instance: instance.compute_instance,
                profile: profile(&instance.name).to_owned(),
            }),
            ..gpu.clone()
        },
        place: Place::Instance {
            uuid: instance.uuid.clone(),
        },
    };
    device.instances.iter().map(instance).collect()
}

/// `1g.10gb` of `NVIDIA H100 80GB HBM3 MIG 1g.10gb`.
fn profile(name: &str) -> &str {
    name.rsplit_once("MIG ")
        .map_or(name, |(_, profile)| profile.trim())
}

/// `13.0` of 13000.
fn cuda_version(number: u32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

/// The links (NVLink) of the machine.
struct Links {
    /// Per device: how many links lead to a switch. What is at the other end of a link and is no
    /// GPU is a switch, through which a GPU reaches every other that has links to switches.
    switched: Vec<usize>,
    /// Per device and device: how many links lead from one to the other.
    direct: Vec<Vec<usize>>,
}

impl Links {
    /// A GPU of `earlier` may be at the other end although it does not answer.
    fn new(devices: &[DeviceReading], earlier: &[Device]) -> Self {
        let places = devices
            .iter()
            .map(|device| device.bus_id.to_ascii_lowercase());
        let places: Vec<String> = places.collect();
        let is_gpu = |end: &String| {
            places.contains(end) || earlier.iter().any(|device| device.bus_id == *end)
        };
        let mut links = Self {
            switched: Vec::new(),
            direct: Vec::new(),
        };
        for device in devices {
            let ends = device.links.iter().map(|end| end.to_ascii_lowercase());
            let ends: Vec<String> = ends.collect();
            let to = |place: &String| ends.iter().filter(|end| *end == place).count();
            links
                .switched
                .push(ends.iter().filter(|end| !is_gpu(end)).count());
            links.direct.push(places.iter().map(to).collect());
        }
        links
    }

    fn between(&self, from: usize, to: usize) -> usize {
        // A link is up on both sides, or the two readings are from before and after its end.
        let direct = self.direct[from][to].max(self.direct[to][from]);
        direct + self.switched[from].min(self.switched[to])
    }

    /// `None` if the driver does not tell.
    fn distance(&self, reading: &MachineReading, from: usize, to: usize) -> Option<GpuDistance> {
        if from == to {
            return Some(GpuDistance::Same);
        }
        let links = self.between(from, to);
        if links > 0 {
            return Some(GpuDistance::NvLink(u8::try_from(links).unwrap_or(u8::MAX)));
        }
        let ancestor = |from: usize, to: usize| *reading.ancestors.get(from)?.get(to)?;
        Some(match ancestor(from, to).or_else(|| ancestor(to, from))? {
            Ancestor::Board => GpuDistance::Same,
            Ancestor::PcieSwitch => GpuDistance::PcieSwitch,
            Ancestor::PcieSwitches => GpuDistance::PcieSwitches,
            Ancestor::HostBridge => GpuDistance::HostBridge,
            Ancestor::NumaNode => GpuDistance::NumaNode,
            Ancestor::System => GpuDistance::System,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A GPU of a machine with eight.
    pub(crate) fn device(number: u32) -> DeviceReading {
        DeviceReading {
            index: number,
            uuid: format!("GPU-{number}"),
            model: "NVIDIA H100 80GB HBM3".into(),
            minor: number,
            memory_bytes: 80 << 30,
            bus_id: format!("00000000:{:02X}:00.0", 0x1a + number),
            is_divided: false,
            instances: Vec::new(),
            links: Vec::new(),
        }
    }

    /// Two sockets with half of the GPUs each.
    pub(crate) fn machine(count: u32) -> MachineReading {
        let side = |number: u32| number * 2 / count.max(1);
        let ancestor = |from: u32, to: u32| {
            let is_near = side(from) == side(to);
            (from != to).then_some(if is_near {
                Ancestor::NumaNode
            } else {
                Ancestor::System
            })
        };
        MachineReading {
            count,
            driver_version: "580.159.04".into(),
            cuda_version: Some(13_000),
            devices: (0..count).map(device).collect(),
            ancestors: (0..count)
                .map(|from| (0..count).map(|to| ancestor(from, to)).collect())
                .collect(),
        }
    }

    fn inventory(reading: &MachineReading) -> Inventory {
        Inventory::new(reading, &Inventory::default(), |_| None)
    }

    fn shown(inventory: &Inventory) -> Vec<String> {
        let rows = inventory.distances.iter();
        rows.map(|row| {
            let cells: Vec<String> = row.iter().map(ToString::to_string).collect();
            cells.join(" ")
        })
        .collect()
    }

    #[test]
    fn what_the_driver_says_is_what_the_record_says() {
        let found = Inventory::new(&machine(1), &Inventory::default(), |bus_id| {
            (bus_id == "00000000:1A:00.0").then_some(1)
        });
        let expected = Gpu {
            uuid: "GPU-0".into(),
            model: "NVIDIA H100 80GB HBM3".into(),
            minor: 0,
            memory_mib: 80 << 10,
            bus_id: Some("00000000:1a:00.0".into()),
            numa_node: Some(1),
            ..Gpu::default()
        };
        assert_eq!(found.units[0].gpu, expected);
        let driver = found.driver.unwrap();
        assert_eq!(
            (driver.version.as_str(), driver.cuda_version.as_str()),
            ("580.159.04", "13.0")
        );
    }

    #[test]
    fn without_nvlink_the_common_ancestor_counts() {
        let expected = [
            "X NODE SYS SYS",
            "NODE X SYS SYS",
            "SYS SYS X NODE",
            "SYS SYS NODE X",
        ];
        assert_eq!(shown(&inventory(&machine(4))), expected);
    }

    #[test]
    fn links_lead_to_gpus_or_through_switches_to_all() {
        let mut reading = machine(4);
        let place = |number: u32| device(number).bus_id;
        // A ring, 0-1 double; the driver writes the other end in its own way.
        reading.devices[0].links = vec![place(1), place(1).to_lowercase(), place(3)];
        reading.devices[1].links = vec![place(0), place(0), place(2)];
        reading.devices[2].links = vec![place(1), place(3)];
        reading.devices[3].links = vec![place(2), place(0)];
        let ring = [
            "X NV2 SYS NV1",
            "NV2 X NV1 SYS",
            "SYS NV1 X NV1",
            "NV1 SYS NV1 X",
        ];
        assert_eq!(shown(&inventory(&reading)), ring);

        for device in &mut reading.devices {
            device.links = vec!["00000000:05:00.0".into(); 18];
        }
        reading.devices[3].links.truncate(12);
        let found = inventory(&reading);
        assert_eq!(found.distances[0][2], GpuDistance::NvLink(18));
        assert_eq!(found.distances[0][3], GpuDistance::NvLink(12));
    }

    #[test]
    fn instances_take_the_place_of_the_gpu_they_divide() {
        let mut reading = machine(2);
        reading.devices[1].is_divided = true;
        let instance = |number: u32| InstanceReading {
            uuid: format!("MIG-{number}"),
            name: "NVIDIA H100 80GB HBM3 MIG 3g.40gb".into(),
            gpu_instance: number + 1,
            compute_instance: 0,
            memory_bytes: 40 << 30,
        };
        reading.devices[1].instances = vec![instance(0), instance(1)];
        let found = inventory(&reading);
        let uuids: Vec<&str> = found
            .units
            .iter()
            .map(|unit| unit.gpu.uuid.as_str())
            .collect();
        assert_eq!(uuids, ["GPU-0", "MIG-0", "MIG-1"]);
        let mig = found.units[2].gpu.mig.as_ref().unwrap();
        assert_eq!((mig.profile.as_str(), mig.gpu_instance), ("3g.40gb", 2));
        assert_eq!(found.units[2].gpu.minor, 1);
        assert_eq!(shown(&found)[1], "SYS X X");
        assert_eq!(found.devices.len(), 2);
    }

    #[test]
    fn a_gpu_that_is_gone_keeps_its_place_and_its_distances() {
        let mut reading = machine(4);
        let place = |number: u32| device(number).bus_id;
        for (one, other) in [(0, 1), (1, 2)] {
            let (from, to) = (place(one), place(other));
            reading.devices[one as usize].links.push(to);
            reading.devices[other as usize].links.push(from);
        }
        let whole = inventory(&reading);
        reading.devices.remove(1);
        reading.ancestors.remove(1);
        for row in &mut reading.ancestors {
            row.remove(1);
        }
        let left = Inventory::new(&reading, &whole, |_| None);
        // Were the silent one taken for a switch, 0 and 2 would seem linked by it.
        assert_eq!(left.distances, whole.distances);
        let gpus = |of: &Inventory| {
            of.units
                .iter()
                .map(|unit| unit.gpu.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(gpus(&left), gpus(&whole));
        // Its number may be another's when the driver is loaded anew.
        assert_eq!(left.units[1].place, whole.units[1].place.without_index());
        assert_eq!(left.devices[1].place, left.units[1].place);
    }

    #[test]
    fn what_is_forgotten_leaves_no_gap() {
        let mut found = inventory(&machine(4));
        found.forget(|bus_id| bus_id == "00000000:1b:00.0");
        let minors: Vec<u32> = found.units.iter().map(|unit| unit.gpu.minor).collect();
        assert_eq!((minors, found.devices.len()), (vec![0, 2, 3], 3));
        assert_eq!(shown(&found), ["X SYS SYS", "SYS X NODE", "SYS NODE X"]);
    }

    proptest! {
        /// Whatever the driver says, the record is a matrix of the right size, the same from
        /// both sides, and complete or not there at all.
        #[test]
        fn distances_are_the_same_from_both_sides(
            count in 1_u32..9,
            ends in prop::collection::vec((0_usize..9, 0_u32..12), 0..40),
            holes in prop::collection::vec((0_usize..9, 0_usize..9), 0..2),
        ) {
            let mut reading = machine(count);
            for (from, end) in ends {
                if let Some(device) = reading.devices.get_mut(from) {
                    device.links.push(self::device(end).bus_id);
                }
            }
            for (from, to) in holes {
                if let Some(cell) = reading.ancestors.get_mut(from).and_then(|row| row.get_mut(to)) {
                    *cell = None;
                }
            }
            let Inventory { units, distances, .. } = inventory(&reading);
            prop_assert_eq!(units.len(), count as usize);
            if !distances.is_empty() {
                prop_assert_eq!(distances.len(), units.len());
                for (from, row) in distances.iter().enumerate() {
                    prop_assert_eq!(row.len(), units.len());
                    prop_assert_eq!(row[from], GpuDistance::Same);
                    for (to, distance) in row.iter().enumerate() {
                        prop_assert_eq!(*distance, distances[to][from]);
                    }
                }
            }
        }
    }
}
