//! The same and more by numbers.

use std::ffi::c_int;

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlFieldValue_t, nvmlValue_t};

use crate::code::Code;
use crate::counters;
use crate::ffi::health::ecc_errors;
use crate::ffi::usage::in_milliwatts;
use crate::ffi::{Out, device, nvlink, nvml};
use crate::file::NvLinkErrors;
use crate::library::Target;

/// A value with its type.
#[derive(Clone, Copy)]
enum Value {
    U32(u32),
    U64(u64),
}

nvml! {
    fn nvmlDeviceGetFieldValues(
        handle: nvmlDevice_t,
        count: c_int,
        values: Out<nvmlFieldValue_t>,
    ) {
        let target = device(FUNCTION, handle)?;
        target.whole()?;
        let count = usize::try_from(count).map_err(|_| Code::INVALID_ARGUMENT)?;
        (0..count).try_for_each(|index| {
            let mut field = values.get_at(index)?;
            fill(&target, &mut field);
            values.set_at(index, field)
        })
    }
}

/// Each field has an answer of its own.
fn fill(target: &Target, field: &mut nvmlFieldValue_t) {
    field.timestamp = i64::try_from(counters::now() / 1000).unwrap_or(i64::MAX);
    field.latencyUsec = 0;
    match value(target, field.fieldId, field.scopeId) {
        Err(code) => field.nvmlReturn = code.0,
        Ok(value) => {
            field.nvmlReturn = 0;
            (field.valueType, field.value) = match value {
                Value::U32(value) => (1, nvmlValue_t { uiVal: value }),
                Value::U64(value) => (3, nvmlValue_t { ullVal: value }),
            };
        }
    }
}

fn value(target: &Target, id: u32, scope: u32) -> Result<Value, Code> {
    let gpu = target.whole()?;
    let spec = &gpu.spec;
    let retires = |value: u32| supported(spec.retires_pages, Value::U64(value.into()));
    let remaps = |value: u32| supported(spec.remaps_rows, Value::U64(value.into()));
    match id {
        1 | 2 => Ok(Value::U64(spec.ecc.into())),
        3 => ecc_errors(gpu, 0, 0).map(Value::U64),
        4 => ecc_errors(gpu, 1, 0).map(Value::U64),
        5 => ecc_errors(gpu, 0, 1).map(Value::U64),
        6 => ecc_errors(gpu, 1, 1).map(Value::U64),
        29 => retires(spec.retired_single_bit),
        30 => retires(spec.retired_double_bit),
        31 => retires(spec.retirement_pending.into()),
        38 => total(target, |errors| errors.crc_flit),
        45 => total(target, |errors| errors.crc_data),
        52 => total(target, |errors| errors.replay),
        59 => total(target, |errors| errors.recovery),
        74 => Ok(Value::U64(target.look()?.1.power_violation)),
        75 => Ok(Value::U64(target.look()?.1.thermal_violation)),
        76..=79 => Ok(Value::U64(0)),
        82 => Ok(Value::U32(target.look()?.0.temperature(spec))),
        83 | 191 => Ok(Value::U64(target.look()?.1.energy / 1000)),
        91 => supported(spec.nvlink_links > 0, Value::U32(spec.nvlink_links)),
        94 => Ok(Value::U32(spec.pcie_replays)),
        142 => remaps(spec.remapped_correctable),
        143 => remaps(spec.remapped_uncorrectable),
        144 => remaps(spec.remap_pending.into()),
        145 => remaps(spec.remap_failed.into()),
        161 => nvlink::errors(target, scope).map(|errors| Value::U64(errors.replay)),
        162 => nvlink::errors(target, scope).map(|errors| Value::U64(errors.recovery)),
        163 => nvlink::errors(target, scope).map(|errors| Value::U64(errors.crc_flit)),
        185 | 186 => Ok(Value::U32(in_milliwatts(target.look()?.0.power(spec)))),
        187 => Ok(Value::U32(in_milliwatts(spec.power_limit_min_watts))),
        188..=190 | 192 => Ok(Value::U32(in_milliwatts(spec.power_limit_watts))),
        _ => Err(Code::NOT_SUPPORTED),
    }
}

fn supported(is: bool, value: Value) -> Result<Value, Code> {
    if is {
        Ok(value)
    } else {
        Err(Code::NOT_SUPPORTED)
    }
}

/// A counter of all links together.
fn total(target: &Target, counter: impl Fn(&NvLinkErrors) -> u64) -> Result<Value, Code> {
    let spec = &target.whole()?.spec;
    let sum = spec
        .nvlink_errors
        .iter()
        .map(counter)
        .fold(0, u64::saturating_add);
    supported(spec.nvlink_links > 0, Value::U64(sum))
}
