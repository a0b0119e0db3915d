//! Instances.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlDeviceAttributes_t, nvmlGpuInstanceProfileInfo_t,
    nvmlGpuInstanceProfileInfo_v2_t,
};

use crate::code::Code;
use crate::ffi::{Out, array, device, nvml, pointer};
use crate::file::MigProfile;
use crate::library::{Target, system};
use crate::mig::MigDevice;

/// What the second version of the struct of a profile says of itself: its size and a 2.
#[expect(clippy::cast_possible_truncation, reason = "a struct of some bytes")]
const PROFILE_VERSION_2: c_uint = {
    let size = size_of::<nvmlGpuInstanceProfileInfo_v2_t>();
    (size | (2 << 24)) as c_uint
};

/// The most instances of a GPU.
const INSTANCES_MAX: c_uint = 7;

nvml! {
    fn nvmlDeviceGetMigMode(handle: nvmlDevice_t, current: Out<c_uint>, pending: Out<c_uint>) {
        let target = device(FUNCTION, handle)?;
        let gpu = target.whole()?;
        if gpu.spec.mig_profiles.is_empty() {
            return Err(Code::NOT_SUPPORTED);
        }
        current.set(c_uint::from(gpu.is_divided()))?;
        pending.set(c_uint::from(gpu.is_divided()))
    }
    fn nvmlDeviceGetMaxMigDeviceCount(handle: nvmlDevice_t, count: Out<c_uint>) {
        let target = device(FUNCTION, handle)?;
        count.set(if target.whole()?.is_divided() { INSTANCES_MAX } else { 0 })
    }
    fn nvmlDeviceGetMigDeviceHandleByIndex(
        handle: nvmlDevice_t,
        index: c_uint,
        out: Out<nvmlDevice_t>,
    ) {
        let target = device(FUNCTION, handle)?;
        let gpu = target.whole()?;
        if !gpu.is_divided() || index >= INSTANCES_MAX {
            return Err(Code::INVALID_ARGUMENT);
        }
        let instance = index as usize;
        gpu.mig.get(instance).ok_or(Code::NOT_FOUND)?;
        let number = target.number;
        out.set(pointer(system(FUNCTION, |library| {
            library.handle_of(FUNCTION, number, Some(instance))
        })?))
    }
    fn nvmlDeviceGetDeviceHandleFromMigDeviceHandle(
        handle: nvmlDevice_t,
        out: Out<nvmlDevice_t>,
    ) {
        let target = device(FUNCTION, handle)?;
        instance(&target)?;
        let number = target.number;
        out.set(pointer(system(FUNCTION, |library| {
            library.handle_of(FUNCTION, number, None)
        })?))
    }
    fn nvmlDeviceIsMigDeviceHandle(handle: nvmlDevice_t, out: Out<c_uint>) {
        out.set(c_uint::from(device(FUNCTION, handle)?.mig.is_some()))
    }
    fn nvmlDeviceGetGpuInstanceId(handle: nvmlDevice_t, id: Out<c_uint>) {
        let target = device(FUNCTION, handle)?;
        id.set(instance(&target)?.gpu_instance)
    }
    fn nvmlDeviceGetComputeInstanceId(handle: nvmlDevice_t, id: Out<c_uint>) {
        let target = device(FUNCTION, handle)?;
        id.set(instance(&target)?.compute_instance)
    }
    fn nvmlDeviceGetAttributes(handle: nvmlDevice_t, out: Out<nvmlDeviceAttributes_t>) {
        out.set(attributes(&device(FUNCTION, handle)?)?)
    }
    fn nvmlDeviceGetAttributes_v2(handle: nvmlDevice_t, out: Out<nvmlDeviceAttributes_t>) {
        out.set(attributes(&device(FUNCTION, handle)?)?)
    }
    fn nvmlDeviceGetGpuInstanceProfileInfo(
        handle: nvmlDevice_t,
        argument: c_uint,
        out: Out<nvmlGpuInstanceProfileInfo_t>,
    ) {
        let target = device(FUNCTION, handle)?;
        let (_, profile) = profile(&target, argument)?;
        out.set(nvmlGpuInstanceProfileInfo_t {
            id: profile.id,
            isP2pSupported: 0,
            sliceCount: profile.slices,
            instanceCount: profile.instances,
            multiprocessorCount: profile.multiprocessors,
            copyEngineCount: profile.copy_engines,
            decoderCount: profile.decoders,
            encoderCount: 0,
            jpegCount: profile.jpeg,
            ofaCount: profile.ofa,
            memorySizeMB: profile.memory_mib,
        })
    }
    fn nvmlDeviceGetGpuInstanceProfileInfoV(
        handle: nvmlDevice_t,
        argument: c_uint,
        out: Out<nvmlGpuInstanceProfileInfo_v2_t>,
    ) {
        let target = device(FUNCTION, handle)?;
        let (name, profile) = profile(&target, argument)?;
        if out.get()?.version != PROFILE_VERSION_2 {
            return Err(Code::ARGUMENT_VERSION_MISMATCH);
        }
        out.set(nvmlGpuInstanceProfileInfo_v2_t {
            version: PROFILE_VERSION_2,
            id: profile.id,
            isP2pSupported: 0,
            sliceCount: profile.slices,
            instanceCount: profile.instances,
            multiprocessorCount: profile.multiprocessors,
            copyEngineCount: profile.copy_engines,
            decoderCount: profile.decoders,
            encoderCount: 0,
            jpegCount: profile.jpeg,
            ofaCount: profile.ofa,
            memorySizeMB: profile.memory_mib,
            name: array(&format!("MIG {name}")),
        })
    }
}

/// The instance, for calls that a whole GPU does not know.
fn instance(target: &Target) -> Result<&MigDevice, Code> {
    let number = target.mig.ok_or(Code::INVALID_ARGUMENT)?;
    target.gpu()?.mig.get(number).ok_or(Code::UNKNOWN)
}

fn attributes(target: &Target) -> Result<nvmlDeviceAttributes_t, Code> {
    // A whole GPU does not support it, and does not call it a wrong argument.
    let profile = &instance(target).map_err(|_| Code::NOT_SUPPORTED)?.profile;
    Ok(nvmlDeviceAttributes_t {
        multiprocessorCount: profile.multiprocessors,
        sharedCopyEngineCount: profile.copy_engines,
        sharedDecoderCount: profile.decoders,
        sharedEncoderCount: 0,
        sharedJpegCount: profile.jpeg,
        sharedOfaCount: profile.ofa,
        gpuInstanceSliceCount: profile.slices,
        computeInstanceSliceCount: profile.slices,
        memorySizeMB: profile.memory_mib,
    })
}

fn profile(target: &Target, argument: c_uint) -> Result<(&str, &MigProfile), Code> {
    let profiles = &target.whole()?.spec.mig_profiles;
    let mut found = profiles
        .iter()
        .filter(|(_, profile)| profile.argument == argument);
    let (name, profile) = found.next().ok_or(Code::NOT_SUPPORTED)?;
    Ok((name.as_str(), profile))
}
