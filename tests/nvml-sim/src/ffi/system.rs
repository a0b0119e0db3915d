//! The library itself, the driver, handles.

use std::ffi::{c_char, c_int, c_uint};

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlReturn_t};

use crate::code::{self, Code};
use crate::ffi::{Answer, Name, Out, Text, list, nvml, pointer};
use crate::library::{self, Library, system};
use crate::machine::{BusAddress, Gpu, Machine};
use crate::processes;

/// The text of a return code.
#[unsafe(no_mangle)]
extern "C" fn nvmlErrorString(result: nvmlReturn_t) -> *const c_char {
    code::text(result).as_ptr()
}

nvml! {
    fn nvmlInit() { library::initialise(FUNCTION) }
    fn nvmlInit_v2() { library::initialise(FUNCTION) }
    fn nvmlInitWithFlags(_flags: c_uint) { library::initialise(FUNCTION) }
    fn nvmlShutdown() { library::shut_down(FUNCTION) }

    fn nvmlSystemGetDriverVersion(version: Text, length: c_uint) {
        version.set(&machine(FUNCTION)?.driver, length)
    }
    fn nvmlSystemGetNVMLVersion(version: Text, length: c_uint) {
        version.set(&machine(FUNCTION)?.nvml, length)
    }
    fn nvmlSystemGetCudaDriverVersion(version: Out<c_int>) {
        version.set(machine(FUNCTION)?.cuda)
    }
    fn nvmlSystemGetCudaDriverVersion_v2(version: Out<c_int>) {
        version.set(machine(FUNCTION)?.cuda)
    }
    fn nvmlSystemGetProcessName(pid: c_uint, name: Text, length: c_uint) {
        machine(FUNCTION)?;
        let found = processes::name(pid).ok_or(Code::NOT_FOUND)?;
        let room = (length as usize).saturating_sub(1);
        name.set(found.get(..room.min(found.len())).unwrap_or_default(), length)
    }
    fn nvmlSystemGetTopologyGpuSet(cpu: c_uint, count: Out<c_uint>, devices: Out<nvmlDevice_t>) {
        let near = handles(FUNCTION, |gpu| gpu.cpus.contains(&(cpu as usize)))?;
        list(&near, &count, &devices)
    }

    fn nvmlDeviceGetCount(count: Out<c_uint>) { device_count(FUNCTION, &count) }
    fn nvmlDeviceGetCount_v2(count: Out<c_uint>) { device_count(FUNCTION, &count) }
    fn nvmlUnitGetCount(count: Out<c_uint>) {
        machine(FUNCTION)?;
        count.set(0)
    }
    fn nvmlGetExcludedDeviceCount(count: Out<c_uint>) {
        machine(FUNCTION)?;
        count.set(0)
    }

    fn nvmlDeviceGetHandleByIndex(index: c_uint, device: Out<nvmlDevice_t>) {
        by_index(FUNCTION, index, &device)
    }
    fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: Out<nvmlDevice_t>) {
        by_index(FUNCTION, index, &device)
    }
    fn nvmlDeviceGetHandleByUUID(uuid: Name, device: Out<nvmlDevice_t>) {
        let uuid = uuid.get()?;
        by(FUNCTION, &device, |machine| library::find(machine, &uuid))
    }
    fn nvmlDeviceGetHandleBySerial(serial: Name, device: Out<nvmlDevice_t>) {
        let serial = serial.get()?;
        by(FUNCTION, &device, |machine| whole(machine, |gpu| gpu.serial == serial))
    }
    fn nvmlDeviceGetHandleByPciBusId(bus_id: Name, device: Out<nvmlDevice_t>) {
        by_bus(FUNCTION, &bus_id, &device)
    }
    fn nvmlDeviceGetHandleByPciBusId_v2(bus_id: Name, device: Out<nvmlDevice_t>) {
        by_bus(FUNCTION, &bus_id, &device)
    }
}

fn machine(function: &str) -> Result<std::sync::Arc<Machine>, Code> {
    system(function, Library::machine)
}

fn device_count(function: &str, count: &Out<c_uint>) -> Answer {
    let found = machine(function)?.counted().count();
    count.set(c_uint::try_from(found).unwrap_or(c_uint::MAX))
}

fn by_index(function: &str, index: c_uint, device: &Out<nvmlDevice_t>) -> Answer {
    let place = |machine: &Machine| machine.counted().nth(index as usize).map(|(it, _)| it);
    // What hangs for this GPU hangs here too; the answer about the index comes first.
    let handle = system(function, |library| {
        let machine = library.machine()?;
        let number = place(&machine).ok_or(Code::INVALID_ARGUMENT)?;
        library.handle_of(function, number, None)
    })?;
    library::device(function, handle)?;
    device.set(pointer(handle))
}

fn by_bus(function: &str, bus_id: &Name, device: &Out<nvmlDevice_t>) -> Answer {
    let text = bus_id.get()?;
    let address = BusAddress::parse(&text).ok_or(Code::INVALID_ARGUMENT)?;
    by(function, device, |machine| {
        whole(machine, |gpu| gpu.bus == address)
    })
}

fn whole(machine: &Machine, is_it: impl Fn(&Gpu) -> bool) -> Option<(usize, Option<usize>)> {
    let mut gpus = machine.counted();
    gpus.find(|(_, gpu)| is_it(gpu))
        .map(|(number, _)| (number, None))
}

fn by(
    function: &str,
    device: &Out<nvmlDevice_t>,
    find: impl Fn(&Machine) -> Option<(usize, Option<usize>)>,
) -> Answer {
    let handle = system(function, |library| {
        let machine = library.machine()?;
        let (number, mig) = find(&machine).ok_or(Code::NOT_FOUND)?;
        library.handle_of(function, number, mig)
    })?;
    library::device(function, handle)?;
    device.set(pointer(handle))
}

/// The handles of the GPUs that are wanted and can be reached.
pub(super) fn handles(
    function: &str,
    is_wanted: impl Fn(&Gpu) -> bool,
) -> Result<Vec<nvmlDevice_t>, Code> {
    system(function, |library| {
        let machine = library.machine()?;
        let wanted = machine.counted().filter(|(_, gpu)| is_wanted(gpu));
        let found = wanted.map(|(number, _)| library.handle_of(function, number, None));
        Ok(found.flatten().map(pointer).collect())
    })
}
