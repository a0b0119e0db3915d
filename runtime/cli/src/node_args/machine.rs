//! What of the machine jobs get.

use std::path::PathBuf;

use clap::Args;
use lote_model::quantity::parse_bytes;
use serde::Deserialize;

/// The options about what jobs get of the machine; the TOML file has them in a table `[machine]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct MachineArgs {
    /// A device file that every job may use, a directory of them, or a name that ends with *,
    /// such as /dev/fuse; may be repeated [`/dev/infiniband/uverbs*` and `rdma_cm` always are]
    #[arg(long, value_name = "PATH")]
    pub allow_device: Vec<PathBuf>,
    /// How many processors are kept free of jobs [default: 0]
    #[arg(long, value_name = "N")]
    pub reserve_cpus: Option<u32>,
    /// How much memory is kept free of jobs, such as 8GiB [default: a twentieth, at most 4 GiB]
    #[arg(long, value_name = "SIZE")]
    pub reserve_memory: Option<String>,
}

/// What jobs get of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineSettings {
    /// The device files that every job may use.
    pub allowed_devices: Vec<PathBuf>,
    /// How many processors are kept free.
    pub reserved_cpus: u32,
    /// How much memory is kept free, if the operator says it.
    pub reserved_memory_bytes: Option<u64>,
}

/// One of these options makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// `--reserve-memory` is no size.
    #[error("cannot keep '{0}' of memory free; give a size such as 8GiB")]
    Memory(String),
    /// `--allow-device` leads elsewhere.
    #[error("'{}' is no device file; give a path below /dev", .0.display())]
    Device(PathBuf),
}

impl MachineArgs {
    /// These options, then those of the file; devices of both.
    pub(super) fn resolve(self, file: Self) -> Result<MachineSettings, MachineError> {
        let mut allowed_devices = file.allow_device;
        allowed_devices.extend(self.allow_device);
        let is_outside = |path: &&PathBuf| {
            !path.starts_with("/dev") || path.components().any(|part| part.as_os_str() == "..")
        };
        if let Some(path) = allowed_devices.iter().find(is_outside) {
            return Err(MachineError::Device(path.clone()));
        }
        let memory = self.reserve_memory.or(file.reserve_memory);
        let memory = memory.map(|text| parse_bytes(&text).ok_or(MachineError::Memory(text)));
        Ok(MachineSettings {
            allowed_devices,
            reserved_cpus: self.reserve_cpus.or(file.reserve_cpus).unwrap_or(0),
            reserved_memory_bytes: memory.transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_the_line_join_those_of_the_file() {
        let file = MachineArgs {
            allow_device: vec!["/dev/fuse".into()],
            reserve_cpus: Some(2),
            reserve_memory: Some("8GiB".into()),
        };
        let line = MachineArgs {
            allow_device: vec!["/dev/infiniband".into()],
            reserve_cpus: Some(1),
            reserve_memory: None,
        };
        let settings = line.resolve(file).unwrap();
        let expected = MachineSettings {
            allowed_devices: vec!["/dev/fuse".into(), "/dev/infiniband".into()],
            reserved_cpus: 1,
            reserved_memory_bytes: Some(8 << 30),
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in ["/etc/passwd", "null", "/dev/../etc/passwd"] {
            let args = MachineArgs {
                allow_device: vec![bad.into()],
                ..MachineArgs::default()
            };
            let error = args.resolve(MachineArgs::default()).unwrap_err();
            assert!(error.to_string().contains("/dev"), "{error}");
        }
        let args = MachineArgs {
            reserve_memory: Some("much".into()),
            ..MachineArgs::default()
        };
        assert!(args.resolve(MachineArgs::default()).is_err());
    }
}
