//! Sets of events.

use std::ffi::{c_uint, c_ulonglong};
use std::time::Duration;

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlEventData_t, nvmlEventSet_t};

use crate::code::Code;
use crate::events::{SUPPORTED, event_type};
use crate::ffi::{Answer, Out, device, nvml, pointer};
use crate::library::{self, system};
use crate::machine::Happening;

nvml! {
    fn nvmlEventSetCreate(set: Out<nvmlEventSet_t>) {
        set.set(pointer(system(FUNCTION, |library| Ok(library.make_set()))?))
    }
    fn nvmlEventSetFree(set: nvmlEventSet_t) {
        system(FUNCTION, |library| library.free_set(set.addr()))
    }
    fn nvmlDeviceGetSupportedEventTypes(handle: nvmlDevice_t, types: Out<c_ulonglong>) {
        device(FUNCTION, handle)?.whole()?;
        types.set(SUPPORTED)
    }
    fn nvmlDeviceRegisterEvents(handle: nvmlDevice_t, types: c_ulonglong, set: nvmlEventSet_t) {
        let target = device(FUNCTION, handle)?;
        target.whole()?;
        if types & !SUPPORTED != 0 {
            return Err(Code::NOT_SUPPORTED);
        }
        system(FUNCTION, |library| {
            let machine = library.machine()?;
            library.set(set.addr())?.register(&machine, target.number, types);
            Ok(())
        })
    }
    fn nvmlEventSetWait(set: nvmlEventSet_t, data: Out<nvmlEventData_t>, milliseconds: c_uint) {
        wait(FUNCTION, set, &data, milliseconds)
    }
    fn nvmlEventSetWait_v2(set: nvmlEventSet_t, data: Out<nvmlEventData_t>, milliseconds: c_uint) {
        wait(FUNCTION, set, &data, milliseconds)
    }
}

fn wait(
    function: &str,
    set: nvmlEventSet_t,
    data: &Out<nvmlEventData_t>,
    milliseconds: c_uint,
) -> Answer {
    let limit = Duration::from_millis(milliseconds.into());
    let (handle, kind) = library::wait(function, set.addr(), limit)?;
    data.set(nvmlEventData_t {
        device: pointer(handle),
        eventType: event_type(kind),
        eventData: match kind {
            Happening::Xid(xid) => xid,
            Happening::Other(_) => 0,
        },
        gpuInstanceId: c_uint::MAX,
        computeInstanceId: c_uint::MAX,
    })
}
