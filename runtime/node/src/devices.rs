//! Which device files a job is given.
//!
//! Numbers come from the files themselves, never from constants: drivers are given theirs when
//! they are loaded.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use lote_model::gpu::MigInstance;
use lote_model::plan::AllocatedGpu;

use crate::cgroup::{DeviceKind, DeviceRule};
use crate::isolation::DeviceNode;

/// What every program may expect and nobody can harm others with.
const HARMLESS: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// What jobs that use MPI over InfiniBand or RoCE need; there only where such a card is.
const FABRIC: &[&str] = &["infiniband/uverbs*", "infiniband/rdma_cm"];

/// What belongs to no GPU but to the driver, and every job with a GPU needs.
const NVIDIA: &[&str] = &["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"];

/// The kernel's number of pseudo-terminals, and of the file that makes them. Each job has an
/// instance of its own, so they lead to no terminal of others.
const TERMINALS: [DeviceRule; 2] = [
    DeviceRule {
        kind: DeviceKind::Character,
        major: 136,
        minor: None,
    },
    DeviceRule {
        kind: DeviceKind::Character,
        major: 5,
        minor: Some(2),
    },
];

/// Where device files are found, and which of them the operator lets all jobs have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceConfig {
    /// The directory of device files. Jobs see what they are given of it below `/dev`.
    pub directory: PathBuf,
    /// What NVIDIA's driver says of its MIG capabilities.
    pub nvidia_capabilities: PathBuf,
    /// Device files that every job may use: a file, a directory for all in it, or a name that
    /// ends with `*`. What is not there is left out.
    pub allowed: Vec<PathBuf>,
}

impl Default for DeviceConfig {
    fn default() -> Self {
        Self {
            directory: "/dev".into(),
            nvidia_capabilities: "/proc/driver/nvidia/capabilities".into(),
            allowed: Vec::new(),
        }
    }
}

/// A device that was granted cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The GPU's own file, or that of a capability.
    #[error(
        "the device file {} of GPU {uuid} is not there; load the driver, or run `nvidia-modprobe -c {minor} -u`",
        path.display()
    )]
    Missing {
        /// The GPU or MIG instance.
        uuid: String,
        /// The minor number of the GPU's file.
        minor: u32,
        /// The file.
        path: PathBuf,
    },
    /// The node no longer has this instance.
    #[error("the MIG instance {0} is no longer there; MIG was changed after the job was placed")]
    Instance(String),
    /// The driver does not say how this instance is opened.
    #[error("cannot tell which device file gives access to the MIG instance {uuid}: {}", path.display())]
    Capability {
        /// The instance.
        uuid: String,
        /// Where the driver should say it.
        path: PathBuf,
        /// Why it cannot be read.
        #[source]
        source: io::Error,
    },
}

/// The rules that let a job use these files, and terminals.
pub fn rules(nodes: &[DeviceNode]) -> Vec<DeviceRule> {
    let mut rules: Vec<DeviceRule> = nodes.iter().map(DeviceNode::rule).collect();
    rules.extend(TERMINALS);
    rules.sort_unstable();
    rules.dedup();
    rules
}

impl DeviceConfig {
    /// What a job with these GPUs is given. `mig` tells which instance an id means.
    pub fn of_job(
        &self,
        gpus: &[AllocatedGpu],
        mig: impl Fn(&str) -> Option<MigInstance>,
    ) -> Result<Vec<DeviceNode>, DeviceError> {
        let mut nodes = self.of_every_job();
        if !gpus.is_empty() {
            nodes.extend(NVIDIA.iter().filter_map(|name| self.node(Path::new(name))));
        }
        for gpu in gpus {
            let name = format!("nvidia{}", gpu.minor);
            let node = self.node(Path::new(&name));
            nodes.push(node.ok_or_else(|| DeviceError::Missing {
                uuid: gpu.uuid.clone(),
                minor: gpu.minor,
                path: self.directory.join(name),
            })?);
            if gpu.uuid.starts_with("MIG-") {
                let instance = mig(&gpu.uuid);
                let instance = instance.ok_or_else(|| DeviceError::Instance(gpu.uuid.clone()))?;
                nodes.extend(self.of_instance(gpu, &instance)?);
            }
        }
        nodes.sort_by(|one, other| one.name.cmp(&other.name));
        nodes.dedup();
        Ok(nodes)
    }

    /// What every job is given.
    pub(crate) fn of_every_job(&self) -> Vec<DeviceNode> {
        let harmless = HARMLESS
            .iter()
            .filter_map(|name| self.node(Path::new(name)));
        let fabric = FABRIC.iter().map(|name| self.directory.join(name));
        let allowed = fabric.chain(self.allowed.iter().cloned());
        harmless
            .chain(allowed.flat_map(|pattern| self.matching(&pattern)))
            .collect()
    }

    /// The operator's entries that mean nothing on this machine.
    pub(crate) fn without_effect(&self) -> Vec<&Path> {
        let entries = self.allowed.iter().map(PathBuf::as_path);
        entries
            .filter(|entry| self.matching(entry).is_empty())
            .collect()
    }

    /// The two capabilities of an instance: of the GPU instance and of the compute instance.
    fn of_instance(
        &self,
        gpu: &AllocatedGpu,
        instance: &MigInstance,
    ) -> Result<Vec<DeviceNode>, DeviceError> {
        let gpu_instance = self
            .nvidia_capabilities
            .join(format!("gpu{}/mig/gi{}", gpu.minor, instance.gpu_instance));
        let compute_instance = gpu_instance.join(format!("ci{}", instance.compute_instance));
        let capabilities = [gpu_instance, compute_instance];
        let nodes = capabilities.iter().map(|directory| {
            let path = directory.join("access");
            let number = fs::read_to_string(&path).and_then(|text| {
                capability_minor(&text).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
            });
            let number = number.map_err(|source| DeviceError::Capability {
                uuid: gpu.uuid.clone(),
                path,
                source,
            })?;
            let name = format!("nvidia-caps/nvidia-cap{number}");
            self.node(Path::new(&name)).ok_or(DeviceError::Missing {
                uuid: gpu.uuid.clone(),
                minor: gpu.minor,
                path: self.directory.join(name),
            })
        });
        nodes.collect()
    }

    /// The device files that an operator's entry means.
    fn matching(&self, entry: &Path) -> Vec<DeviceNode> {
        let Ok(below) = entry.strip_prefix(&self.directory) else {
            return Vec::new();
        };
        let beginning = entry
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix('*'));
        let (directory, beginning) = match beginning {
            Some(beginning) => (below.parent().unwrap_or(Path::new("")), beginning),
            None if entry.is_dir() => (below, ""),
            None => return self.node(below).into_iter().collect(),
        };
        let Ok(files) = fs::read_dir(self.directory.join(directory)) else {
            return Vec::new();
        };
        let names = files.flatten().map(|file| file.file_name());
        let mut nodes: Vec<DeviceNode> = names
            .filter(|name| name.as_encoded_bytes().starts_with(beginning.as_bytes()))
            .filter_map(|name| self.node(&directory.join(name)))
            .collect();
        nodes.sort_by(|one, other| one.name.cmp(&other.name));
        nodes
    }

    /// A device file of the machine; none if there is no such.
    fn node(&self, name: &Path) -> Option<DeviceNode> {
        let host = self.directory.join(name);
        let metadata = fs::metadata(&host).ok()?;
        let kind = if metadata.file_type().is_char_device() {
            DeviceKind::Character
        } else if metadata.file_type().is_block_device() {
            DeviceKind::Block
        } else {
            return None;
        };
        let number = metadata.rdev();
        Some(DeviceNode {
            name: name.into(),
            host,
            kind,
            major: u32::try_from(nix::sys::stat::major(number)).ok()?,
            minor: u32::try_from(nix::sys::stat::minor(number)).ok()?,
            mode: metadata.mode() & 0o777,
            uid: metadata.uid(),
            gid: metadata.gid(),
        })
    }
}

/// The number in `DeviceFileMinor: 3`, as the driver writes it.
fn capability_minor(text: &str) -> Option<u32> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("DeviceFileMinor:"));
    line?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCESS: &str = "DeviceFileMinor: 30\nDeviceFileMode: 292\nDeviceFileModify: 1\n";

    #[test]
    fn the_driver_tells_the_number_of_a_capability() {
        assert_eq!(capability_minor(ACCESS), Some(30));
        assert_eq!(capability_minor("DeviceFileMode: 292\n"), None);
        assert_eq!(capability_minor("DeviceFileMinor: many\n"), None);
    }

    #[test]
    fn rules_name_each_device_once() {
        let node = |name: &str, minor| DeviceNode {
            name: name.into(),
            host: Path::new("/dev").join(name),
            kind: DeviceKind::Character,
            major: 5,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        };
        let rules = rules(&[node("ptmx", 2), node("tty", 0), node("again", 0)]);
        assert_eq!(rules.len(), 3, "{rules:?}");
    }

    #[test]
    fn a_machine_without_the_gpus_file_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let config = DeviceConfig {
            directory: directory.path().into(),
            ..DeviceConfig::default()
        };
        let gpu = |uuid: &str| AllocatedGpu {
            uuid: uuid.into(),
            minor: 3,
            memory_mib: 1,
        };
        assert_eq!(config.of_job(&[], |_| None).unwrap(), []);
        let error = config.of_job(&[gpu("GPU-1")], |_| None).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("nvidia3") && text.contains("nvidia-modprobe -c 3"),
            "{text}"
        );
    }

    #[test]
    fn what_is_outside_or_no_device_is_not_given() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        let inside = directory.path().join("file");
        let config = DeviceConfig {
            directory: directory.path().into(),
            allowed: vec![inside.clone(), "/dev/null".into()],
            ..DeviceConfig::default()
        };
        assert_eq!(config.of_every_job(), []);
        assert_eq!(
            config.without_effect(),
            [inside.as_path(), Path::new("/dev/null")]
        );
    }
}
