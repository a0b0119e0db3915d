//! What GPUs are, where, and how near to each other.

use std::collections::BTreeSet;

use nvml_wrapper::enum_wrappers::device::TopologyLevel;
use nvml_wrapper::error::NvmlError;

use crate::sim::{Sim, TWO_SOCKETS};

#[test]
fn the_driver_and_its_gpus_are_told() {
    let sim = Sim::new(&format!(
        "driver = \"570.1\"\ncuda = \"12.8\"\nmachine = \"m\"\n{TWO_SOCKETS}"
    ));
    let nvml = sim.nvml();
    assert_eq!(nvml.sys_driver_version().unwrap(), "570.1");
    assert_eq!(nvml.sys_cuda_driver_version().unwrap(), 12_080);
    assert_eq!(nvml.device_count().unwrap(), 8);
    let mut uuids = BTreeSet::new();
    for index in 0..8 {
        let device = nvml.device_by_index(index).unwrap();
        let uuid = device.uuid().unwrap();
        assert_eq!(device.index().unwrap(), index);
        assert_eq!(device.minor_number().unwrap(), index);
        assert_eq!(device.name().unwrap(), "NVIDIA H100 80GB HBM3");
        let bus_id = device.pci_info().unwrap().bus_id;
        assert_eq!(
            nvml.device_by_uuid(uuid.as_str()).unwrap().uuid().unwrap(),
            uuid
        );
        let lower = bus_id.to_lowercase();
        assert_eq!(
            nvml.device_by_pci_bus_id(lower).unwrap().uuid().unwrap(),
            uuid
        );
        uuids.insert(uuid);
    }
    assert_eq!(uuids.len(), 8);
    assert!(matches!(
        nvml.device_by_index(8),
        Err(NvmlError::InvalidArg)
    ));
    assert!(matches!(
        nvml.device_by_uuid("GPU-0"),
        Err(NvmlError::NotFound)
    ));
}

#[test]
fn distances_and_links_are_those_of_the_layout() {
    let sim = Sim::new(TWO_SOCKETS);
    let nvml = sim.nvml();
    let device = |index| nvml.device_by_index(index).unwrap();
    let level = |one, other| device(one).topology_common_ancestor(device(other)).unwrap();
    assert_eq!(level(0, 1), TopologyLevel::Single);
    assert_eq!(level(0, 2), TopologyLevel::Node);
    assert_eq!(level(3, 4), TopologyLevel::System);
    let peers: Vec<String> = (0..18)
        .map(|link| {
            let first = device(0);
            let link = first.link_wrapper_for(link);
            assert!(link.is_active().unwrap());
            link.remote_pci_info().unwrap().bus_id
        })
        .collect();
    let bus_of = |index| device(index).pci_info().unwrap().bus_id;
    for peer in [1, 2, 3] {
        assert_eq!(peers.iter().filter(|bus| **bus == bus_of(peer)).count(), 6);
    }
    let near = device(4)
        .topology_nearest_gpus(TopologyLevel::Single)
        .unwrap();
    let near: Vec<u32> = near.iter().map(|device| device.index().unwrap()).collect();
    assert_eq!(near, [5]);
}

#[test]
fn memory_nodes_and_processors_are_told_as_bits() {
    let sim = Sim::new(&format!("{TWO_SOCKETS}\n[change.5]\ncpus = \"64-65,1\""));
    let nvml = sim.nvml();
    let device = nvml.device_by_index(5).unwrap();
    assert_eq!(device.memory_affinity(2, 0).unwrap(), [2, 0]);
    assert_eq!(device.cpu_affinity(2).unwrap(), [2, 3]);
    assert!(matches!(
        device.numa_node_id(),
        Err(NvmlError::NotSupported)
    ));
}

#[test]
fn a_machine_can_change_while_it_is_watched() {
    let sim = Sim::new(TWO_SOCKETS);
    let nvml = sim.nvml();
    let third = nvml.device_by_index(3).unwrap();
    sim.write(&format!("{TWO_SOCKETS}\n[change.3]\nmemory = \"40 GiB\""));
    assert_eq!(third.memory_info().unwrap().total, 40 << 30);
    sim.write("[[gpu]]\nmodel = \"L4\"");
    assert_eq!(nvml.device_count().unwrap(), 1);
    assert_eq!(
        nvml.device_by_index(0).unwrap().name().unwrap(),
        "NVIDIA L4"
    );
}

#[test]
fn a_file_that_cannot_be_read_changes_nothing() {
    let sim = Sim::new(TWO_SOCKETS);
    let nvml = sim.nvml();
    sim.write("[[gpu");
    assert_eq!(nvml.device_count().unwrap(), 8);
    std::fs::remove_file(sim.file()).unwrap();
    assert_eq!(nvml.device_count().unwrap(), 8);
}

#[test]
fn without_a_machine_there_is_no_driver() {
    let sim = Sim::new("[[gpu]]\nmodel = \"H9\"");
    assert!(matches!(sim.try_nvml(), Err(NvmlError::DriverNotLoaded)));
    std::fs::remove_file(sim.file()).unwrap();
    assert!(matches!(sim.try_nvml(), Err(NvmlError::DriverNotLoaded)));
}
