//! Links and their errors.

use std::ffi::{c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlPciInfo_t};

use crate::code::Code;
use crate::ffi::identity::pci_info_of;
use crate::ffi::{Answer, Out, device, nvml};
use crate::file::NvLinkErrors;
use crate::library::Target;
use crate::topology::Remote;

/// `nvmlIntNvLinkDeviceType_t`.
const REMOTE_GPU: c_uint = 0;
const REMOTE_SWITCH: c_uint = 2;

/// The third generation of NVSwitch.
const SWITCH_PCI_DEVICE: u32 = 0x22A3_10DE;

nvml! {
    fn nvmlDeviceGetNvLinkState(handle: nvmlDevice_t, link: c_uint, active: Out<c_uint>) {
        let target = device(FUNCTION, handle)?;
        active.set(c_uint::from(remote(&target, link)?.is_some()))
    }
    fn nvmlDeviceGetNvLinkVersion(handle: nvmlDevice_t, link: c_uint, version: Out<c_uint>) {
        let target = device(FUNCTION, handle)?;
        remote(&target, link)?;
        version.set(target.whole()?.spec.nvlink_version)
    }
    fn nvmlDeviceGetNvLinkCapability(
        handle: nvmlDevice_t,
        link: c_uint,
        capability: c_uint,
        out: Out<c_uint>,
    ) {
        let target = device(FUNCTION, handle)?;
        let is_active = remote(&target, link)?.is_some();
        match capability {
            // Between GPUs, with memory of the system, atomics of both, and that it is valid.
            0..=3 | 5 => out.set(c_uint::from(is_active)),
            4 => out.set(0),
            _ => Err(Code::INVALID_ARGUMENT),
        }
    }
    fn nvmlDeviceGetNvLinkRemotePciInfo(
        handle: nvmlDevice_t,
        link: c_uint,
        out: Out<nvmlPciInfo_t>,
    ) {
        remote_pci(&device(FUNCTION, handle)?, link, &out)
    }
    fn nvmlDeviceGetNvLinkRemotePciInfo_v2(
        handle: nvmlDevice_t,
        link: c_uint,
        out: Out<nvmlPciInfo_t>,
    ) {
        remote_pci(&device(FUNCTION, handle)?, link, &out)
    }
    fn nvmlDeviceGetNvLinkRemoteDeviceType(handle: nvmlDevice_t, link: c_uint, out: Out<c_uint>) {
        let target = device(FUNCTION, handle)?;
        match remote(&target, link)?.ok_or(Code::NOT_SUPPORTED)? {
            Remote::Gpu(_) => out.set(REMOTE_GPU),
            Remote::Switch(_) => out.set(REMOTE_SWITCH),
        }
    }
    fn nvmlDeviceGetNvLinkErrorCounter(
        handle: nvmlDevice_t,
        link: c_uint,
        counter: c_uint,
        out: Out<c_ulonglong>,
    ) {
        let target = device(FUNCTION, handle)?;
        remote(&target, link)?;
        let errors = errors(&target, link)?;
        match counter {
            0 => out.set(errors.replay),
            1 => out.set(errors.recovery),
            2 => out.set(errors.crc_flit),
            3 => out.set(errors.crc_data),
            4 => Err(Code::NOT_SUPPORTED),
            _ => Err(Code::INVALID_ARGUMENT),
        }
    }
}

/// What is at the other end of a link, if it is active.
fn remote(target: &Target, link: c_uint) -> Result<Option<Remote>, Code> {
    if target.whole()?.spec.nvlink_links == 0 {
        return Err(Code::NOT_SUPPORTED);
    }
    let machine = &target.machine;
    let known = machine.links.remote(&machine.gpus, target.number, link);
    known.ok_or(Code::INVALID_ARGUMENT)
}

fn remote_pci(target: &Target, link: c_uint, out: &Out<nvmlPciInfo_t>) -> Answer {
    match remote(target, link)?.ok_or(Code::NOT_SUPPORTED)? {
        Remote::Switch(bus) => out.set(pci_info_of(bus, SWITCH_PCI_DEVICE, 0)),
        Remote::Gpu(number) => {
            let gpu = target.machine.gpus.get(number).ok_or(Code::UNKNOWN)?;
            let spec = &gpu.spec;
            out.set(pci_info_of(
                gpu.bus,
                spec.pci_device_id,
                spec.pci_subsystem_id,
            ))
        }
    }
}

/// What a link has counted.
pub(super) fn errors(target: &Target, link: c_uint) -> Result<NvLinkErrors, Code> {
    let counted = &target.whole()?.spec.nvlink_errors;
    let own = counted.iter().find(|errors| errors.link == link);
    Ok(own.copied().unwrap_or_default())
}
