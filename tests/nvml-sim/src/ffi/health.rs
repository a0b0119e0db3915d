//! Errors of the memory, retired pages, remapped rows.

use std::ffi::{c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlEccErrorCounts_t, nvmlRowRemapperHistogramValues_t,
};

use crate::code::Code;
use crate::ffi::{Answer, Out, device, list, nvml};
use crate::library::Target;
use crate::machine::Gpu;

/// When pages were retired, if any were, in seconds since 1970.
const RETIRED_AT: c_ulonglong = 1_700_000_000;

/// The size of a page that is retired.
const PAGE: u64 = 4096;

nvml! {
    fn nvmlDeviceGetEccMode(handle: nvmlDevice_t, current: Out<c_uint>, pending: Out<c_uint>) {
        let ecc = c_uint::from(device(FUNCTION, handle)?.whole()?.spec.ecc);
        current.set(ecc)?;
        pending.set(ecc)
    }
    fn nvmlDeviceGetTotalEccErrors(
        handle: nvmlDevice_t,
        kind: c_uint,
        counter: c_uint,
        out: Out<c_ulonglong>,
    ) {
        let target = device(FUNCTION, handle)?;
        out.set(ecc_errors(target.whole()?, kind, counter)?)
    }
    fn nvmlDeviceGetMemoryErrorCounter(
        handle: nvmlDevice_t,
        kind: c_uint,
        counter: c_uint,
        location: c_uint,
        out: Out<c_ulonglong>,
    ) {
        let target = device(FUNCTION, handle)?;
        let errors = ecc_errors(target.whole()?, kind, counter)?;
        match location {
            // Everything that is counted was in the memory of the device.
            2 => out.set(errors),
            0 | 1 | 3..=7 => out.set(0),
            _ => Err(Code::INVALID_ARGUMENT),
        }
    }
    fn nvmlDeviceGetDetailedEccErrors(
        handle: nvmlDevice_t,
        kind: c_uint,
        counter: c_uint,
        out: Out<nvmlEccErrorCounts_t>,
    ) {
        let target = device(FUNCTION, handle)?;
        out.set(nvmlEccErrorCounts_t {
            l1Cache: 0,
            l2Cache: 0,
            deviceMemory: ecc_errors(target.whole()?, kind, counter)?,
            registerFile: 0,
        })
    }
    fn nvmlDeviceGetRetiredPages(
        handle: nvmlDevice_t,
        cause: c_uint,
        count: Out<c_uint>,
        addresses: Out<c_ulonglong>,
    ) {
        list(&retired(&device(FUNCTION, handle)?, cause)?, &count, &addresses)
    }
    fn nvmlDeviceGetRetiredPages_v2(
        handle: nvmlDevice_t,
        cause: c_uint,
        count: Out<c_uint>,
        addresses: Out<c_ulonglong>,
        times: Out<c_ulonglong>,
    ) {
        let pages = retired(&device(FUNCTION, handle)?, cause)?;
        list(&pages, &count, &addresses)?;
        (0..pages.len()).try_for_each(|index| times.set_at(index, RETIRED_AT))
    }
    fn nvmlDeviceGetRetiredPagesPendingStatus(handle: nvmlDevice_t, pending: Out<c_uint>) {
        let target = device(FUNCTION, handle)?;
        let spec = &target.whole()?.spec;
        supported(spec.retires_pages)?;
        pending.set(c_uint::from(spec.retirement_pending))
    }
    fn nvmlDeviceGetRemappedRows(
        handle: nvmlDevice_t,
        correctable: Out<c_uint>,
        uncorrectable: Out<c_uint>,
        pending: Out<c_uint>,
        failed: Out<c_uint>,
    ) {
        let target = device(FUNCTION, handle)?;
        let spec = &target.whole()?.spec;
        supported(spec.remaps_rows)?;
        correctable.set(spec.remapped_correctable)?;
        uncorrectable.set(spec.remapped_uncorrectable)?;
        pending.set(c_uint::from(spec.remap_pending))?;
        failed.set(c_uint::from(spec.remap_failed))
    }
    fn nvmlDeviceGetRowRemapperHistogram(
        handle: nvmlDevice_t,
        out: Out<nvmlRowRemapperHistogramValues_t>,
    ) {
        let target = device(FUNCTION, handle)?;
        let spec = &target.whole()?.spec;
        supported(spec.remaps_rows)?;
        // Each remapped row is in a bank of its own, which loses a little of what it has spare.
        let banks = spec.row_banks;
        let used = spec.remapped_correctable.saturating_add(spec.remapped_uncorrectable).min(banks);
        let none = if spec.remap_failed { 1.min(banks - used) } else { 0 };
        out.set(nvmlRowRemapperHistogramValues_t {
            max: banks - used - none,
            high: used,
            partial: 0,
            low: 0,
            none,
        })
    }
}

fn supported(is: bool) -> Answer {
    if is { Ok(()) } else { Err(Code::NOT_SUPPORTED) }
}

/// Errors of the memory: corrected (0) or not (1), since the driver was loaded (0) or ever (1).
pub(super) fn ecc_errors(gpu: &Gpu, kind: c_uint, counter: c_uint) -> Result<u64, Code> {
    let spec = &gpu.spec;
    supported(spec.ecc)?;
    let (now, before) = match kind {
        0 => (
            spec.ecc_corrected + gpu.ecc_events.corrected,
            spec.ecc_corrected_before,
        ),
        1 => (
            spec.ecc_uncorrected + gpu.ecc_events.uncorrected,
            spec.ecc_uncorrected_before,
        ),
        _ => return Err(Code::INVALID_ARGUMENT),
    };
    match counter {
        0 => Ok(now),
        1 => Ok(now.saturating_add(before)),
        _ => Err(Code::INVALID_ARGUMENT),
    }
}

/// The addresses of pages that were retired for a cause.
fn retired(target: &Target, cause: c_uint) -> Result<Vec<c_ulonglong>, Code> {
    let spec = &target.whole()?.spec;
    supported(spec.retires_pages)?;
    let count = match cause {
        0 => spec.retired_single_bit,
        1 => spec.retired_double_bit,
        _ => return Err(Code::INVALID_ARGUMENT),
    };
    let first = 1 + u64::from(cause) * 1000;
    Ok((0..u64::from(count))
        .map(|page| (first + page) * PAGE)
        .collect())
}
