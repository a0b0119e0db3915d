//! Instances.

use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;

use crate::sim::Sim;

#[test]
fn instances_are_devices_of_their_own() {
    let sim = Sim::new("[[gpu]]\nmodel = \"H100\"\nmig = [\"3g.40gb\", \"1g.10gb\"]");
    let nvml = sim.nvml();
    let device = nvml.device_by_index(0).unwrap();
    let mode = device.mig_mode().unwrap();
    assert_eq!((mode.current, mode.pending), (1, 1));
    assert_eq!(device.mig_device_count().unwrap(), 7);
    assert!(matches!(
        device.utilization_rates(),
        Err(NvmlError::NotSupported)
    ));

    let instance = device.mig_device_by_index(1).unwrap();
    assert!(instance.mig_is_mig_device_handle().unwrap());
    assert!(!device.mig_is_mig_device_handle().unwrap());
    let uuid = instance.uuid().unwrap();
    assert!(uuid.starts_with("MIG-"), "{uuid}");
    assert_eq!(
        instance.name().unwrap(),
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb"
    );
    assert_eq!(instance.memory_info().unwrap().total, 9984 << 20);
    assert_eq!(instance.attributes().unwrap().multiprocessor_count, 16);
    assert!(matches!(
        instance.power_usage(),
        Err(NvmlError::NotSupported)
    ));
    assert_eq!(
        nvml.device_by_uuid(uuid.as_str()).unwrap().uuid().unwrap(),
        uuid
    );
    let parent = instance.mig_parent_device().unwrap();
    assert_eq!(parent.uuid().unwrap(), device.uuid().unwrap());
    assert!(matches!(
        device.mig_device_by_index(2),
        Err(NvmlError::NotFound)
    ));
    assert!(matches!(
        device.mig_device_by_index(7),
        Err(NvmlError::InvalidArg)
    ));
}

#[test]
fn a_whole_gpu_has_no_instances() {
    let sim = Sim::new("[[gpu]]\nmodel = \"H100\"\n[[gpu]]\nmodel = \"L4\"");
    let nvml = sim.nvml();
    let device = nvml.device_by_index(0).unwrap();
    assert_eq!(device.mig_mode().unwrap().current, 0);
    assert!(matches!(
        device.mig_device_by_index(0),
        Err(NvmlError::InvalidArg)
    ));
    assert!(matches!(device.attributes(), Err(NvmlError::NotSupported)));
    let card = nvml.device_by_index(1).unwrap();
    assert!(matches!(card.mig_mode(), Err(NvmlError::NotSupported)));
}

#[test]
fn a_process_of_the_file_on_a_divided_gpu_has_no_instance() {
    let own = std::process::id();
    let sim = Sim::new(&format!(
        "[[gpu]]\nmodel = \"H100\"\nmig = [\"1g.10gb\"]\nprocess = [{{ pid = {own}, memory = 9 }}]"
    ));
    let nvml = sim.nvml();
    let device = nvml.device_by_index(0).unwrap();
    let processes = device.running_compute_processes().unwrap();
    assert_eq!(processes[0].used_gpu_memory, UsedGpuMemory::Used(9));
    let instance = device.mig_device_by_index(0).unwrap();
    assert!(instance.running_compute_processes().unwrap().is_empty());
}
