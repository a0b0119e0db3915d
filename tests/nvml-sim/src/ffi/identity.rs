//! What a GPU is and where.

use std::ffi::{c_int, c_uint};

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlPciInfo_t};

use crate::code::Code;
use crate::ffi::{Out, Text, array, device, nvml};
use crate::machine::{BusAddress, Gpu};

/// `nvmlBusType_t`: PCI Express.
const BUS_TYPE_PCIE: c_uint = 2;

/// The buffer that the caller of `nvmlDeviceGetGspFirmwareVersion` must have.
const GSP_FIRMWARE_VERSION_LENGTH: c_uint = 64;

nvml! {
    fn nvmlDeviceGetName(handle: nvmlDevice_t, name: Text, length: c_uint) {
        let target = device(FUNCTION, handle)?;
        let gpu = target.gpu()?;
        match target.mig.and_then(|mig| gpu.mig.get(mig)) {
            None => name.set(&gpu.spec.name, length),
            Some(mig) => name.set(&format!("{} MIG {}", gpu.spec.name, mig.profile_name), length),
        }
    }
    fn nvmlDeviceGetUUID(handle: nvmlDevice_t, uuid: Text, length: c_uint) {
        let target = device(FUNCTION, handle)?;
        let gpu = target.gpu()?;
        match target.mig.and_then(|mig| gpu.mig.get(mig)) {
            None => uuid.set(&gpu.uuid, length),
            Some(mig) => uuid.set(&mig.uuid, length),
        }
    }
    fn nvmlDeviceGetIndex(handle: nvmlDevice_t, index: Out<c_uint>) {
        let target = device(FUNCTION, handle)?;
        let found = match target.mig {
            None => target.machine.index(target.number).ok_or(Code::UNKNOWN)?,
            Some(mig) => mig,
        };
        index.set(c_uint::try_from(found).unwrap_or(c_uint::MAX))
    }
    fn nvmlDeviceGetSerial(handle: nvmlDevice_t, serial: Text, length: c_uint) {
        serial.set(&device(FUNCTION, handle)?.whole()?.serial, length)
    }
    fn nvmlDeviceGetMinorNumber(handle: nvmlDevice_t, minor: Out<c_uint>) {
        minor.set(device(FUNCTION, handle)?.whole()?.minor)
    }
    fn nvmlDeviceGetPciInfo(handle: nvmlDevice_t, pci: Out<nvmlPciInfo_t>) {
        pci.set(pci_info(device(FUNCTION, handle)?.whole()?))
    }
    fn nvmlDeviceGetPciInfo_v2(handle: nvmlDevice_t, pci: Out<nvmlPciInfo_t>) {
        pci.set(pci_info(device(FUNCTION, handle)?.whole()?))
    }
    fn nvmlDeviceGetPciInfo_v3(handle: nvmlDevice_t, pci: Out<nvmlPciInfo_t>) {
        pci.set(pci_info(device(FUNCTION, handle)?.whole()?))
    }
    fn nvmlDeviceGetBrand(handle: nvmlDevice_t, brand: Out<c_uint>) {
        brand.set(device(FUNCTION, handle)?.gpu()?.spec.brand)
    }
    fn nvmlDeviceGetArchitecture(handle: nvmlDevice_t, architecture: Out<c_uint>) {
        architecture.set(device(FUNCTION, handle)?.gpu()?.spec.architecture)
    }
    fn nvmlDeviceGetCudaComputeCapability(
        handle: nvmlDevice_t,
        major: Out<c_int>,
        minor: Out<c_int>,
    ) {
        let target = device(FUNCTION, handle)?;
        let capability = target.gpu()?.spec.compute_capability;
        major.set(capability.0)?;
        minor.set(capability.1)
    }
    fn nvmlDeviceGetNumGpuCores(handle: nvmlDevice_t, cores: Out<c_uint>) {
        cores.set(device(FUNCTION, handle)?.whole()?.spec.cores)
    }
    fn nvmlDeviceGetMemoryBusWidth(handle: nvmlDevice_t, width: Out<c_uint>) {
        width.set(device(FUNCTION, handle)?.whole()?.spec.memory_bus_width)
    }
    fn nvmlDeviceGetVbiosVersion(handle: nvmlDevice_t, version: Text, length: c_uint) {
        version.set(&device(FUNCTION, handle)?.whole()?.spec.vbios, length)
    }
    fn nvmlDeviceGetInforomImageVersion(handle: nvmlDevice_t, version: Text, length: c_uint) {
        version.set(&device(FUNCTION, handle)?.whole()?.spec.inforom, length)
    }
    fn nvmlDeviceGetBoardPartNumber(handle: nvmlDevice_t, number: Text, length: c_uint) {
        number.set(&device(FUNCTION, handle)?.whole()?.spec.part_number, length)
    }
    fn nvmlDeviceGetBoardId(handle: nvmlDevice_t, board: Out<c_uint>) {
        let bus = device(FUNCTION, handle)?.whole()?.bus;
        board.set((bus.domain << 16) | (bus.bus << 8) | bus.device)
    }
    fn nvmlDeviceGetMultiGpuBoard(handle: nvmlDevice_t, multiple: Out<c_uint>) {
        device(FUNCTION, handle)?.whole()?;
        multiple.set(0)
    }
    fn nvmlDeviceGetBusType(handle: nvmlDevice_t, kind: Out<c_uint>) {
        device(FUNCTION, handle)?.whole()?;
        kind.set(BUS_TYPE_PCIE)
    }
    fn nvmlDeviceGetCurrPcieLinkGeneration(handle: nvmlDevice_t, generation: Out<c_uint>) {
        generation.set(device(FUNCTION, handle)?.whole()?.spec.pcie_generation)
    }
    fn nvmlDeviceGetMaxPcieLinkGeneration(handle: nvmlDevice_t, generation: Out<c_uint>) {
        generation.set(device(FUNCTION, handle)?.whole()?.spec.pcie_generation)
    }
    fn nvmlDeviceGetCurrPcieLinkWidth(handle: nvmlDevice_t, width: Out<c_uint>) {
        width.set(device(FUNCTION, handle)?.whole()?.spec.pcie_width)
    }
    fn nvmlDeviceGetMaxPcieLinkWidth(handle: nvmlDevice_t, width: Out<c_uint>) {
        width.set(device(FUNCTION, handle)?.whole()?.spec.pcie_width)
    }
    fn nvmlDeviceGetPcieReplayCounter(handle: nvmlDevice_t, replays: Out<c_uint>) {
        replays.set(device(FUNCTION, handle)?.whole()?.spec.pcie_replays)
    }
    fn nvmlDeviceGetComputeMode(handle: nvmlDevice_t, mode: Out<c_uint>) {
        device(FUNCTION, handle)?.gpu()?;
        mode.set(0)
    }
    fn nvmlDeviceGetPersistenceMode(handle: nvmlDevice_t, mode: Out<c_uint>) {
        device(FUNCTION, handle)?.whole()?;
        mode.set(1)
    }
    fn nvmlDeviceGetDisplayActive(handle: nvmlDevice_t, active: Out<c_uint>) {
        device(FUNCTION, handle)?.whole()?;
        active.set(0)
    }
    fn nvmlDeviceGetGspFirmwareVersion(handle: nvmlDevice_t, version: Text) {
        let target = device(FUNCTION, handle)?;
        target.whole()?;
        version.set(&target.machine.driver, GSP_FIRMWARE_VERSION_LENGTH)
    }
    fn nvmlDeviceGetGspFirmwareMode(
        handle: nvmlDevice_t,
        enabled: Out<c_uint>,
        default: Out<c_uint>,
    ) {
        device(FUNCTION, handle)?.whole()?;
        enabled.set(1)?;
        default.set(1)
    }
}

fn pci_info(gpu: &Gpu) -> nvmlPciInfo_t {
    pci_info_of(gpu.bus, gpu.spec.pci_device_id, gpu.spec.pci_subsystem_id)
}

/// The answer about any place on the bus.
pub(super) fn pci_info_of(bus: BusAddress, device: u32, subsystem: u32) -> nvmlPciInfo_t {
    nvmlPciInfo_t {
        busIdLegacy: array(&bus.legacy_text()),
        domain: bus.domain,
        bus: bus.bus,
        device: bus.device,
        pciDeviceId: device,
        pciSubSystemId: subsystem,
        busId: array(&bus.text()),
    }
}
