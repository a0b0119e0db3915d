//! What the kernel says of a GPU: which NUMA node it is attached to, and whose it is.

use std::path::PathBuf;

use crate::numa;

/// The kernel's files about devices, or a stand-in of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sysfs(PathBuf);

impl Sysfs {
    /// `/sys`, or what stands in for it.
    pub(crate) fn at(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// The NUMA node of a device on the PCI bus; none if the machine has only one, or does not
    /// tell.
    pub(super) fn numa_node_of(&self, bus_id: &str) -> Option<u32> {
        let device = self.0.join("bus/pci/devices").join(kernel_bus_id(bus_id)?);
        let text = std::fs::read_to_string(device.join("numa_node")).ok()?;
        // -1 where the firmware does not tell.
        let node = text.trim().parse().ok()?;
        (numa::directories(&self.0).len() > 1).then_some(node)
    }

    /// Whether a device on the PCI bus is another driver's, such as one that hands it to a virtual
    /// machine.
    pub(super) fn is_given_away(&self, bus_id: &str) -> bool {
        let Some(bus_id) = kernel_bus_id(bus_id) else {
            return false;
        };
        let driver = self.0.join("bus/pci/devices").join(bus_id).join("driver");
        let driver = std::fs::read_link(driver).ok();
        driver.is_some_and(|driver| driver.file_name().is_some_and(|name| name != "nvidia"))
    }
}

/// NVML writes eight digits for the domain; the kernel four, unless it needs more.
fn kernel_bus_id(bus_id: &str) -> Option<String> {
    let (domain, rest) = bus_id.split_once(':')?;
    let domain = u32::from_str_radix(domain, 16).ok()?;
    Some(format!("{domain:04x}:{}", rest.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with so many NUMA nodes and these GPUs (bus id, node).
    fn machine(nodes: u32, gpus: &[(&str, i32)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for node in 0..nodes {
            let node = root.path().join(format!("devices/system/node/node{node}"));
            std::fs::create_dir_all(&node).unwrap();
        }
        for (bus_id, node) in gpus {
            let device = root.path().join("bus/pci/devices").join(bus_id);
            std::fs::create_dir_all(&device).unwrap();
            std::fs::write(device.join("numa_node"), format!("{node}\n")).unwrap();
        }
        root
    }

    #[test]
    fn a_gpu_is_attached_to_one_of_several_numa_nodes() {
        let gpus = [
            ("0000:1b:00.0", 0),
            ("0001:9c:00.0", 1),
            ("0000:01:00.0", -1),
        ];
        let root = machine(2, &gpus);
        let sysfs = Sysfs::at(root.path());
        assert_eq!(sysfs.numa_node_of("00000000:1B:00.0"), Some(0));
        assert_eq!(sysfs.numa_node_of("00000001:9C:00.0"), Some(1));
        assert_eq!(sysfs.numa_node_of("00000000:01:00.0"), None);
        assert_eq!(sysfs.numa_node_of("nonsense"), None);
        let root = machine(1, &gpus);
        assert_eq!(
            Sysfs::at(root.path()).numa_node_of("00000000:1B:00.0"),
            None
        );
    }

    #[test]
    fn a_device_of_another_driver_is_given_away() {
        let root = machine(
            0,
            &[
                ("0000:1b:00.0", 0),
                ("0000:1c:00.0", 0),
                ("0000:1d:00.0", 0),
            ],
        );
        for (bus_id, driver) in [("0000:1b:00.0", "nvidia"), ("0000:1c:00.0", "vfio-pci")] {
            let link = root
                .path()
                .join("bus/pci/devices")
                .join(bus_id)
                .join("driver");
            std::os::unix::fs::symlink(format!("../../drivers/{driver}"), link).unwrap();
        }
        let sysfs = Sysfs::at(root.path());
        let away = ["1B", "1C", "1D", "1E"]
            .map(|bus| sysfs.is_given_away(&format!("00000000:{bus}:00.0")));
        assert_eq!(away, [false, true, false, false]);
    }
}
