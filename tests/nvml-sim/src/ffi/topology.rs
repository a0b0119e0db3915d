//! Neighbours, processors, memory nodes.

use std::ffi::{c_int, c_uint, c_ulong};

use nvml_wrapper_sys::bindings::nvmlDevice_t;

use crate::code::Code;
use crate::ffi::{Answer, Out, device, list, nvml, system};
use crate::library::Target;
use crate::topology::{INTERNAL, common_ancestor};

/// `nvmlGpuP2PStatus_t`.
const P2P_OK: c_uint = 0;
const P2P_NOT_SUPPORTED: c_uint = 5;

nvml! {
    fn nvmlDeviceGetTopologyCommonAncestor(
        one: nvmlDevice_t,
        other: nvmlDevice_t,
        level: Out<c_uint>,
    ) {
        let (one, other) = (device(FUNCTION, one)?, device(FUNCTION, other)?);
        level.set(ancestor(&one, &other)?)
    }
    fn nvmlDeviceGetTopologyNearestGpus(
        handle: nvmlDevice_t,
        level: c_uint,
        count: Out<c_uint>,
        devices: Out<nvmlDevice_t>,
    ) {
        let target = device(FUNCTION, handle)?;
        let own = target.whole()?;
        let is_at = |other: &crate::machine::Gpu| {
            other.uuid != own.uuid && common_ancestor(own, other) == level
        };
        list(&system::handles(FUNCTION, is_at)?, &count, &devices)
    }
    fn nvmlDeviceGetP2PStatus(
        one: nvmlDevice_t,
        other: nvmlDevice_t,
        capability: c_uint,
        status: Out<c_uint>,
    ) {
        let (one, other) = (device(FUNCTION, one)?, device(FUNCTION, other)?);
        one.whole()?;
        other.whole()?;
        let machine = &one.machine;
        let linked = || machine.links.connects(&machine.gpus, one.number, other.number);
        let can = match capability {
            // By NVLink, and whatever else needs it; reads and writes go over PCIe as well.
            2 | 3 => linked(),
            0 | 1 | 4 => true,
            _ => return Err(Code::INVALID_ARGUMENT),
        };
        status.set(if can { P2P_OK } else { P2P_NOT_SUPPORTED })
    }
    fn nvmlDeviceOnSameBoard(one: nvmlDevice_t, other: nvmlDevice_t, same: Out<c_int>) {
        let (one, other) = (device(FUNCTION, one)?, device(FUNCTION, other)?);
        same.set(c_int::from(one.number == other.number))
    }

    fn nvmlDeviceGetCpuAffinity(handle: nvmlDevice_t, size: c_uint, out: Out<c_ulong>) {
        bits(&device(FUNCTION, handle)?.gpu()?.cpus, size, &out)
    }
    fn nvmlDeviceGetCpuAffinityWithinScope(
        handle: nvmlDevice_t,
        size: c_uint,
        out: Out<c_ulong>,
        _scope: c_uint,
    ) {
        bits(&device(FUNCTION, handle)?.gpu()?.cpus, size, &out)
    }
    fn nvmlDeviceGetMemoryAffinity(
        handle: nvmlDevice_t,
        size: c_uint,
        out: Out<c_ulong>,
        _scope: c_uint,
    ) {
        let target = device(FUNCTION, handle)?;
        bits(&[target.gpu()?.numa_node as usize], size, &out)
    }
    fn nvmlDeviceGetNumaNodeId(handle: nvmlDevice_t, _node: Out<c_uint>) {
        // It asks for memory of the GPU that is a NUMA node itself, which none here is.
        device(FUNCTION, handle)?;
        Err(Code::NOT_SUPPORTED)
    }
}

fn ancestor(one: &Target, other: &Target) -> Result<u32, Code> {
    if one.number == other.number {
        return Ok(INTERNAL);
    }
    Ok(common_ancestor(one.gpu()?, other.gpu()?))
}

/// Writes a set of small numbers as bits; what does not fit is left out, as the driver does.
fn bits(numbers: &[usize], size: c_uint, out: &Out<c_ulong>) -> Answer {
    const WIDTH: usize = c_ulong::BITS as usize;
    if size == 0 {
        return Err(Code::INVALID_ARGUMENT);
    }
    (0..size as usize).try_for_each(|index| {
        let own = numbers.iter().filter(|number| **number / WIDTH == index);
        let word = own.fold(0, |word: c_ulong, number| word | (1 << (number % WIDTH)));
        out.set_at(index, word)
    })
}
