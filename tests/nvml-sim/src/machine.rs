//! The machine that a file describes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use toml::{Table, Value};

use crate::code::Code;
use crate::file::{EventKind, File, FileError, GpuName, GpuSpec, Layout, Presence};
use crate::mig::{self, MigDevice};
use crate::models;
use crate::topology::Links;

/// The most GPUs of one machine: as many as have a place in the file of counters.
pub(crate) const GPUS_MAX: usize = 128;

/// A machine. Its GPUs have the order of the file, also those that are gone: NVML's index of a
/// GPU is its place among those that are not.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) driver: String,
    pub(crate) nvml: String,
    /// 1000 times major, 10 times minor.
    pub(crate) cuda: i32,
    pub(crate) find_processes: bool,
    pub(crate) errors: BTreeMap<String, Code>,
    pub(crate) hangs: BTreeSet<String>,
    pub(crate) gpus: Vec<Gpu>,
    pub(crate) links: Links,
    pub(crate) events: Vec<Event>,
}

/// A GPU of a machine.
#[derive(Debug)]
pub(crate) struct Gpu {
    pub(crate) uuid: String,
    pub(crate) serial: String,
    pub(crate) minor: u32,
    pub(crate) device: PathBuf,
    pub(crate) bus: BusAddress,
    pub(crate) numa_node: u32,
    pub(crate) cpus: Vec<usize>,
    /// Host bridge, then switches.
    pub(crate) pcie: Vec<String>,
    pub(crate) mig: Vec<MigDevice>,
    /// Errors that events told of, by kind.
    pub(crate) ecc_events: EccEvents,
    pub(crate) spec: GpuSpec,
}

/// How many events of errors of the memory there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EccEvents {
    pub(crate) corrected: u64,
    pub(crate) uncorrected: u64,
}

/// A place on the PCI bus; the function is always 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BusAddress {
    pub(crate) domain: u32,
    pub(crate) bus: u32,
    pub(crate) device: u32,
}

/// Something that has happened to a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: u64,
    pub(crate) gpu: usize,
    pub(crate) kind: Happening,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    Xid(u64),
    Other(EventKind),
}

impl Machine {
    /// Reads a file. `cpus` is how many processors the machine has that plays it.
    pub(crate) fn parse(text: &str, cpus: usize) -> Result<Self, FileError> {
        let mut file = File::parse(text)?;
        let specs = specs(&mut file)?;
        let gpus = specs.len();
        if gpus > GPUS_MAX {
            return Err(FileError::new(format!(
                "{gpus} GPUs, and there can be {GPUS_MAX}"
            )));
        }
        let mut gpus = specs
            .into_iter()
            .enumerate()
            .map(|(number, spec)| gpu(number, gpus, spec, &file, cpus))
            .collect::<Result<Vec<_>, _>>()?;
        let events = events(&file, &mut gpus)?;
        Ok(Self {
            links: Links::new(&file.layout, &gpus)?,
            cuda: cuda_number(&file.cuda)?,
            driver: file.driver,
            nvml: file.nvml,
            find_processes: file.find_processes,
            errors: file.errors,
            hangs: file.hangs,
            gpus,
            events,
        })
    }

    /// The GPUs that are counted, by their number in the file.
    pub(crate) fn counted(&self) -> impl Iterator<Item = (usize, &Gpu)> {
        self.gpus
            .iter()
            .enumerate()
            .filter(|(_, gpu)| gpu.spec.state != Presence::Gone)
    }

    /// NVML's index of a GPU.
    pub(crate) fn index(&self, number: usize) -> Option<usize> {
        self.counted().position(|(counted, _)| counted == number)
    }

    /// Whether a function does not return, for a GPU or at all.
    pub(crate) fn hangs(&self, function: &str, gpu: Option<usize>) -> bool {
        let of_gpu = gpu.and_then(|number| self.gpus.get(number));
        let sets = of_gpu.map(|gpu| &gpu.spec.hangs);
        std::iter::once(&self.hangs)
            .chain(sets)
            .any(|set| set.contains(function) || set.contains("*"))
    }

    /// What a function fails with, for a GPU or at all.
    pub(crate) fn error(&self, function: &str, gpu: Option<usize>) -> Option<Code> {
        let of_gpu = gpu.and_then(|number| self.gpus.get(number));
        let maps = of_gpu.map(|gpu| &gpu.spec.errors);
        std::iter::once(&self.errors)
            .chain(maps)
            .find_map(|map| map.get(function).or_else(|| map.get("*")))
            .copied()
    }
}

impl Gpu {
    /// Whether MIG divides it.
    pub(crate) fn is_divided(&self) -> bool {
        self.spec.mig_enabled || !self.mig.is_empty()
    }
}

impl BusAddress {
    /// `00000000:1B:00.0`
    pub(crate) fn text(self) -> String {
        let Self {
            domain,
            bus,
            device,
        } = self;
        format!("{domain:08X}:{bus:02X}:{device:02X}.0")
    }

    /// `0000:1B:00.0`
    pub(crate) fn legacy_text(self) -> String {
        let Self {
            domain,
            bus,
            device,
        } = self;
        format!("{domain:04X}:{bus:02X}:{device:02X}.0")
    }

    /// Reads `domain:bus:device.function`, the domain of any length or absent.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplit(':');
        let hex = |text: &str| u32::from_str_radix(text, 16).ok();
        let device = parts.next()?;
        let device = device.split_once('.').map_or(device, |(device, _)| device);
        let address = Self {
            device: hex(device)?,
            bus: hex(parts.next()?)?,
            domain: parts.next().map_or(Some(0), hex)?,
        };
        parts.next().is_none().then_some(address)
    }
}

/// What each GPU is: its model's table, the file's over it, the change over that.
fn specs(file: &mut File) -> Result<Vec<GpuSpec>, FileError> {
    let mut tables = Vec::new();
    for mut own in std::mem::take(&mut file.gpu) {
        let model = match own.remove("model") {
            Some(Value::String(name)) => name,
            _ => return Err(FileError::new("every [[gpu]] has a model = \"…\"")),
        };
        let count = match own.remove("count") {
            None => 1,
            Some(Value::Integer(count @ 0..=128)) => count,
            Some(_) => return Err(FileError::new("count is a number up to 128")),
        };
        let mut whole = models::model(&model)?;
        models::lay_over(&mut whole, own);
        tables.extend((0..count).map(|_| whole.clone()));
    }
    for (name, table) in std::mem::take(&mut file.change) {
        let number = match GpuName::from_text(&name) {
            GpuName::Number(number) => Some(number),
            GpuName::Uuid(uuid) => place_of(&uuid, &tables, &file.machine),
        };
        let changed = number.and_then(|number| tables.get_mut(number));
        let changed = changed
            .ok_or_else(|| FileError::new(format!("[change.{name}], but there is no such GPU")))?;
        models::lay_over(changed, table);
    }
    tables.into_iter().map(spec).collect()
}

fn spec(table: Table) -> Result<GpuSpec, FileError> {
    Value::Table(table).try_into().map_err(FileError::text)
}

fn place_of(uuid: &str, tables: &[Table], machine: &str) -> Option<usize> {
    tables.iter().enumerate().position(|(number, table)| {
        let own = table.get("uuid").and_then(Value::as_str);
        own.map_or_else(|| uuid_of(machine, number, "GPU"), str::to_owned) == uuid
    })
}

fn gpu(
    number: usize,
    count: usize,
    spec: GpuSpec,
    file: &File,
    cpus: usize,
) -> Result<Gpu, FileError> {
    let small = u32::try_from(number).unwrap_or_default();
    let minor = spec.minor.unwrap_or(small);
    let layout = &file.layout;
    let (numa_node, group) = place(number, count, layout);
    let numa_node = spec.numa_node.unwrap_or(numa_node);
    let bus = match &spec.bus_id {
        None => BusAddress {
            domain: small / 14,
            bus: 0x1b + 0x10 * (small % 14),
            device: 0,
        },
        Some(text) => BusAddress::parse(text)
            .ok_or_else(|| FileError::new(format!("'{text}' is no PCI bus id")))?,
    };
    let pcie = match &spec.pcie {
        None => vec![
            format!("bridge{numa_node}.{group}"),
            format!("switch{numa_node}.{group}"),
        ],
        Some(way) => way.split('/').map(str::to_owned).collect(),
    };
    let affine = match &spec.cpus {
        None => cpus_of(numa_node, layout.numa_nodes, cpus),
        Some(list) => cpu_list(list)
            .ok_or_else(|| FileError::new(format!("'{list}' is no list of processors")))?,
    };
    Ok(Gpu {
        uuid: spec
            .uuid
            .clone()
            .unwrap_or_else(|| uuid_of(&file.machine, number, "GPU")),
        serial: spec
            .serial
            .clone()
            .unwrap_or_else(|| format!("13204230{number:05}")),
        minor,
        device: spec
            .device
            .clone()
            .unwrap_or_else(|| format!("/dev/nvidia{minor}").into()),
        bus,
        numa_node,
        cpus: affine,
        pcie,
        mig: mig::devices(&spec, minor, |instance| {
            uuid_of(&file.machine, number * 64 + instance, "MIG")
        })?,
        ecc_events: EccEvents::default(),
        spec,
    })
}

/// The NUMA node of a GPU and the switch there, by the layout.
fn place(number: usize, count: usize, layout: &Layout) -> (u32, usize) {
    let nodes = usize::try_from(layout.numa_nodes.max(1)).unwrap_or(1);
    let per_node = count.div_ceil(nodes).max(1);
    let per_switch = usize::try_from(layout.gpus_per_switch.max(1)).unwrap_or(1);
    let node = u32::try_from(number / per_node).unwrap_or_default();
    (node, (number % per_node) / per_switch)
}

/// The processors of a NUMA node: those of the machine that plays it, divided evenly.
fn cpus_of(node: u32, nodes: u32, cpus: usize) -> Vec<usize> {
    let nodes = usize::try_from(nodes.max(1)).unwrap_or(1);
    let node = usize::try_from(node).unwrap_or_default() % nodes;
    if cpus < nodes {
        return vec![node % cpus.max(1)];
    }
    (0..cpus).filter(|cpu| cpu * nodes / cpus == node).collect()
}

/// `0-3,8`
fn cpu_list(text: &str) -> Option<Vec<usize>> {
    let mut list = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last >= 4096 {
            return None;
        }
        list.extend(first..=last);
    }
    Some(list)
}

fn events(file: &File, gpus: &mut [Gpu]) -> Result<Vec<Event>, FileError> {
    let mut events = Vec::new();
    for line in &file.event {
        let number = match &line.gpu {
            GpuName::Number(number) => Some(*number),
            GpuName::Uuid(uuid) => gpus.iter().position(|gpu| gpu.uuid == *uuid),
        };
        let gpu = number.and_then(|number| Some((number, gpus.get_mut(number)?)));
        let (number, gpu) =
            gpu.ok_or_else(|| FileError::new(format!("event {} names no GPU", line.id)))?;
        let kind = match (line.xid, line.kind) {
            (Some(xid), None) => Happening::Xid(xid),
            (None, Some(kind)) => Happening::Other(kind),
            _ => {
                return Err(FileError::new(format!(
                    "event {} has an xid or a kind, and not both",
                    line.id
                )));
            }
        };
        match line.kind {
            Some(EventKind::SingleBitEcc) => gpu.ecc_events.corrected += 1,
            Some(EventKind::DoubleBitEcc) => gpu.ecc_events.uncorrected += 1,
            _ => {}
        }
        events.push(Event {
            id: line.id,
            gpu: number,
            kind,
        });
    }
    Ok(events)
}

/// `13.0` is 13000.
fn cuda_number(text: &str) -> Result<i32, FileError> {
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    let number = |text: &str| text.parse::<u16>().ok().map(i32::from);
    let found = number(major).zip(number(minor));
    found
        .map(|(major, minor)| major * 1000 + minor * 10)
        .ok_or_else(|| FileError::new(format!("'{text}' is no version of CUDA such as \"13.0\"")))
}

/// An id that is the same whenever the file is read.
fn uuid_of(machine: &str, number: usize, prefix: &str) -> String {
    let hash = |salt: u64| {
        let text = format!("{salt} {machine} {prefix} {number}");
        mixed(fnv1a(text.as_bytes()))
    };
    let bits = (u128::from(hash(1)) << 64) | u128::from(hash(2));
    let digits = format!("{bits:032x}");
    let mut rest = digits.as_str();
    let groups = [8, 4, 4, 4, 12].map(|length| {
        let (group, tail) = rest.split_at(length);
        rest = tail;
        group
    });
    format!("{prefix}-{}", groups.join("-"))
}

/// A hash that is the same in every process.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Spreads every bit over all, as MurmurHash ends: FNV alone gives texts that differ at their end
/// the same beginning, and `CUDA_VISIBLE_DEVICES` takes beginnings.
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_SOCKETS: &str = "
        layout = { numa_nodes = 2, gpus_per_switch = 2 }
        [[gpu]]
        model = \"H100\"
        count = 8
    ";

    fn machine(text: &str) -> Machine {
        Machine::parse(text, 8).unwrap()
    }

    fn refused(text: &str) -> String {
        Machine::parse(text, 8).unwrap_err().to_string()
    }

    #[test]
    fn a_count_makes_gpus_that_differ_only_in_what_tells_them_apart() {
        let machine = machine(TWO_SOCKETS);
        let uuids: BTreeSet<&str> = machine.gpus.iter().map(|gpu| gpu.uuid.as_str()).collect();
        assert_eq!(uuids.len(), 8);
        assert!(uuids.iter().all(|uuid| uuid.len() == 40));
        let minors: Vec<u32> = machine.gpus.iter().map(|gpu| gpu.minor).collect();
        assert_eq!(minors, [0, 1, 2, 3, 4, 5, 6, 7]);
        let nodes: Vec<u32> = machine.gpus.iter().map(|gpu| gpu.numa_node).collect();
        assert_eq!(nodes, [0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(machine.gpus[0].pcie, machine.gpus[1].pcie);
        assert_ne!(machine.gpus[1].pcie, machine.gpus[2].pcie);
        assert_eq!(machine.gpus[5].cpus, [4, 5, 6, 7]);
        assert_eq!(machine.gpus[7].bus.text(), "00000000:8B:00.0");
        assert_eq!(machine.cuda, 13_000);
    }

    #[test]
    fn one_gpu_can_be_changed() {
        let uuid = machine(TWO_SOCKETS).gpus[3].uuid.clone();
        let text =
            format!("{TWO_SOCKETS}\n[change.2]\nstate = \"gone\"\n[change.{uuid}]\nminor = 40\n");
        let machine = machine(&text);
        assert_eq!(machine.counted().count(), 7);
        assert_eq!(machine.index(2), None);
        assert_eq!(machine.index(3), Some(2));
        assert_eq!(
            machine.gpus[3].device,
            std::path::Path::new("/dev/nvidia40")
        );
    }

    #[test]
    fn faults_are_of_one_gpu_or_of_all() {
        let text = format!(
            "hangs = [\"nvmlDeviceGetName\"]\n{TWO_SOCKETS}\n[change.1]\n\
             errors = {{ nvmlDeviceGetPowerUsage = \"GPU_IS_LOST\" }}\nhangs = [\"*\"]"
        );
        let machine = machine(&text);
        assert!(machine.hangs("nvmlDeviceGetName", None));
        assert!(machine.hangs("nvmlDeviceGetName", Some(0)));
        assert!(machine.hangs("anything", Some(1)) && !machine.hangs("anything", Some(0)));
        let lost = Some(Code::GPU_IS_LOST);
        assert_eq!(machine.error("nvmlDeviceGetPowerUsage", Some(1)), lost);
        assert_eq!(machine.error("nvmlDeviceGetPowerUsage", Some(0)), None);
    }

    #[test]
    fn events_count_as_errors_of_the_memory() {
        let text = format!(
            "{TWO_SOCKETS}\n[[event]]\nid = 1\ngpu = 3\nkind = \"double_bit_ecc\"\n\
             [[event]]\nid = 2\ngpu = 3\nxid = 48"
        );
        let machine = machine(&text);
        assert_eq!(machine.gpus[3].ecc_events.uncorrected, 1);
        assert_eq!(machine.events[1].kind, Happening::Xid(48));
    }

    #[test]
    fn mistakes_are_told() {
        let gpu = "[[gpu]]\nmodel = \"H100\"\n";
        for (text, part) in [
            ("[[gpu]]\n", "model"),
            ("[[gpu]]\nmodel = \"H9\"\n", "H9"),
            (&format!("{gpu}power = 3\n"), "power"),
            (&format!("{gpu}bus_id = \"x\"\n"), "'x'"),
            (&format!("{gpu}[change.1]\nminor = 1\n"), "change.1"),
            (&format!("{gpu}[[event]]\nid = 9\ngpu = 0\n"), "event 9"),
            (
                &format!("{gpu}[[event]]\nid = 9\ngpu = 5\nxid = 1\n"),
                "event 9",
            ),
            (&format!("cuda = \"new\"\n{gpu}"), "'new'"),
            (&format!("{gpu}count = 129\n"), "128"),
        ] {
            let said = refused(text);
            assert!(said.contains(part), "{text}: {said}");
        }
    }

    #[test]
    fn bus_ids_are_read_however_they_are_written() {
        let address = BusAddress {
            domain: 1,
            bus: 0x1b,
            device: 0,
        };
        for text in ["00000001:1B:00.0", "0001:1b:00.0", "1:1b:0"] {
            assert_eq!(BusAddress::parse(text), Some(address), "{text}");
        }
        for bad in ["", "1b", "x:1b:00.0", "0:0:1b:00.0"] {
            assert_eq!(BusAddress::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn processors_are_divided_among_the_nodes() {
        assert_eq!(cpus_of(1, 2, 2), [1]);
        assert_eq!(cpus_of(1, 2, 5), [3, 4]);
        assert_eq!(cpus_of(3, 4, 2), [1]);
        assert_eq!(cpu_list("0-2,7"), Some(vec![0, 1, 2, 7]));
        assert_eq!(cpu_list("0-9999"), None);
    }
}
