//! MIG instances and their ids.

use std::path::PathBuf;

use crate::file::{FileError, GpuSpec, MigProfile};

/// A GPU instance with one compute instance that has all of it.
#[derive(Clone, Debug)]
pub(crate) struct MigDevice {
    pub(crate) uuid: String,
    pub(crate) profile_name: String,
    pub(crate) profile: MigProfile,
    pub(crate) gpu_instance: u32,
    pub(crate) compute_instance: u32,
    /// The capability that a process opens to use it.
    pub(crate) device: PathBuf,
}

/// Capabilities of one GPU, of one GPU instance: the driver numbers them without gaps,
/// beginning after the two of MIG itself (`/proc/driver/nvidia-caps/mig-minors`).
const CAPABILITIES_FIRST: u32 = 3;
const CAPABILITIES_PER_GPU: u32 = 135;
const CAPABILITIES_PER_INSTANCE: u32 = 9;

/// The slices of a GPU.
const SLICES: u32 = 7;

/// The instances of a GPU, in the order of the file.
pub(crate) fn devices(
    spec: &GpuSpec,
    minor: u32,
    uuid: impl Fn(usize) -> String,
) -> Result<Vec<MigDevice>, FileError> {
    let mut taken = Vec::new();
    let mut slices = 0;
    let mut devices = Vec::new();
    for (number, name) in spec.mig.iter().enumerate() {
        let profile = spec.mig_profiles.get(name).ok_or_else(|| {
            let known: Vec<&str> = spec.mig_profiles.keys().map(String::as_str).collect();
            let known = known.join(", ");
            FileError::new(format!(
                "{} has no MIG profile '{name}'; there are {known}",
                spec.name
            ))
        })?;
        slices += profile.slices;
        if slices > SLICES {
            return Err(FileError::new(format!(
                "the MIG instances of a {} need more than {SLICES} slices",
                spec.name
            )));
        }
        let gpu_instance = free_id(profile, &taken);
        taken.push(gpu_instance);
        devices.push(MigDevice {
            uuid: uuid(number),
            profile_name: name.clone(),
            profile: profile.clone(),
            gpu_instance,
            compute_instance: 0,
            device: format!(
                "/dev/nvidia-caps/nvidia-cap{}",
                compute_capability_minor(minor, gpu_instance)
            )
            .into(),
        });
    }
    Ok(devices)
}

/// Large instances get the small ids, as the driver gives them: 0 for the whole, 1 and 2 for
/// halves, 3 to 6 for quarters, 7 to 13 for the smallest.
fn free_id(profile: &MigProfile, taken: &[u32]) -> u32 {
    let first = match profile.slices {
        7.. => 0,
        3..=6 => 1,
        2 => 3,
        _ => 7,
    };
    let mut id = first;
    while taken.contains(&id) {
        id += 1;
    }
    id
}

/// Minor number of the device file that gives the right to use the compute instance 0 of a GPU
/// instance.
fn compute_capability_minor(gpu_minor: u32, gpu_instance: u32) -> u32 {
    let of_gpu = CAPABILITIES_FIRST + gpu_minor * CAPABILITIES_PER_GPU;
    of_gpu + gpu_instance * CAPABILITIES_PER_INSTANCE + 1
}

#[cfg(test)]
mod tests {
    use crate::machine::Machine;

    fn machine(mig: &str) -> Result<Machine, String> {
        let text = format!("[[gpu]]\nmodel = \"H100\"\nminor = 1\nmig = {mig}");
        Machine::parse(&text, 1).map_err(|error| error.to_string())
    }

    #[test]
    fn instances_have_the_ids_and_files_that_the_driver_gives() {
        let machine = machine("[\"3g.40gb\", \"1g.10gb\", \"1g.10gb\", \"2g.20gb\"]").unwrap();
        let ids: Vec<u32> = machine.gpus[0]
            .mig
            .iter()
            .map(|it| it.gpu_instance)
            .collect();
        assert_eq!(ids, [1, 7, 8, 3]);
        let second = &machine.gpus[0].mig[1];
        // 3 + 135 for the second GPU, 7 instances of 9, and the compute instance after its GPU
        // instance.
        let file = std::path::Path::new("/dev/nvidia-caps/nvidia-cap202");
        assert_eq!(second.device, file);
        assert!(second.uuid.starts_with("MIG-"));
        assert_ne!(second.uuid, machine.gpus[0].mig[2].uuid);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let error = machine("[\"1g.5gb\"]").unwrap_err();
        assert!(
            error.contains("1g.5gb") && error.contains("1g.10gb"),
            "{error}"
        );
        let error = machine("[\"4g.40gb\", \"4g.40gb\"]").unwrap_err();
        assert!(error.contains("7 slices"), "{error}");
    }
}
