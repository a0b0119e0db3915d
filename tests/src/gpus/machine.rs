//! The file of the simulated NVML, the device files, what the kernel would tell.
//!
//! A daemon runs in a mount namespace of its own, whose `/dev` is a folder of the machine's: its
//! GPUs are `/dev/nvidia0` and so on, as on a real machine, and other tests see nothing of them.

use std::fs::{self, File};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::daemon::{Daemon, binary};
use crate::gpus::standin::{DRIVERLESS, StandIn, device_file};

/// What Cargo calls the simulated NVML.
const LIBRARY: &str = "liblote_nvml_sim.so";

/// Prepares the daemon's view of the machine and becomes it. `$1` is the machine's folder.
const ENTER: &str = "set -e; folder=$1; shift; \
    mount --rbind /dev/pts \"$folder/dev/pts\"; \
    mount --rbind /dev/shm \"$folder/dev/shm\"; \
    mount --rbind \"$folder/dev\" /dev; \
    mount --bind \"$folder/driver\" /proc/driver; \
    mount --bind \"$folder/pci\" /sys/bus/pci/devices; \
    if [ -d \"$folder/numa\" ]; then mount --bind \"$folder/numa\" /sys/devices/system/node; fi; \
    export LOTE_NVML_SIM=\"$folder/machine.toml\"; \
    exec \"$@\"";

/// What every program may expect in `/dev`, by major and minor number.
const ORDINARY: &[(&str, u64, u64)] = &[
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
    ("ptmx", 5, 2),
];

/// What belongs to no GPU but to the driver. There is no driver of these numbers.
const OF_DRIVER: &[(&str, u64, u64)] = &[
    ("nvidiactl", DRIVERLESS, 255),
    ("nvidia-uvm", DRIVERLESS, 250),
    ("nvidia-uvm-tools", DRIVERLESS, 251),
];

/// A machine. The order of its members is that in which they go.
#[derive(Debug)]
pub struct GpuMachine {
    folder: TempDir,
    devices: Vec<StandIn>,
}

/// Eight H100 on two sockets: islands of four that NVLink connects, of two behind one switch.
pub const TWO_SOCKETS: &str = "\
    layout = { numa_nodes = 2, gpus_per_switch = 2, nvlink = [[0, 1, 2, 3], [4, 5, 6, 7]] }\n\
    [[gpu]]\n\
    model = \"H100\"\n\
    count = 8\n";

impl GpuMachine {
    /// A machine with so many GPUs, as `text` describes them, and device files for them.
    pub fn new(gpus: usize, text: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("lote-gpus-")
            .tempdir_in("/var/tmp")
            .expect("a folder");
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), everybody).expect("its mode");
        for name in ["dev/pts", "dev/shm", "dev/nvidia-caps", "driver", "pci"] {
            fs::create_dir_all(folder.path().join(name)).expect("a folder");
        }
        let machine = Self {
            folder,
            devices: StandIn::claim(gpus),
        };
        for (name, major, minor) in ORDINARY.iter().chain(OF_DRIVER) {
            device_file(&machine.dev().join(name), *major, *minor);
        }
        for (minor, device) in machine.devices.iter().enumerate() {
            device.make(&machine.device(minor));
        }
        for (name, target) in [
            ("fd", ""),
            ("stdin", "/0"),
            ("stdout", "/1"),
            ("stderr", "/2"),
        ] {
            let target = format!("/proc/self/fd{target}");
            std::os::unix::fs::symlink(target, machine.dev().join(name)).expect("a link");
        }
        machine.write(text);
        machine
    }

    /// Eight H100 on two sockets, which the kernel tells too.
    pub fn two_sockets() -> Self {
        let machine = Self::new(8, TWO_SOCKETS);
        for gpu in 0..8_u32 {
            // The simulated NVML's own numbers, as the kernel writes them.
            let bus_id = format!("0000:{:02x}:00.0", 0x1b + 0x10 * gpu);
            machine.kernel_says(&format!("pci/{bus_id}/numa_node"), &(gpu / 4).to_string());
        }
        for node in 0..2 {
            let of_node = |name: &str| format!("numa/node{node}/{name}");
            machine.kernel_says(&of_node("cpulist"), &node.to_string());
            let memory = format!("Node {node} MemTotal:       4194304 kB");
            machine.kernel_says(&of_node("meminfo"), &memory);
        }
        machine
    }

    /// Puts a line into a file that stands in for one of the kernel's.
    fn kernel_says(&self, name: &str, line: &str) {
        let path = self.folder.path().join(name);
        let folder = path.parent().expect("it is in a folder");
        fs::create_dir_all(folder).expect("a folder");
        fs::write(path, format!("{line}\n")).expect("a file");
    }

    /// Gives a MIG instance its device files, as the driver does: `gpu_instance` of the GPU with
    /// this minor number.
    pub fn add_instance(&mut self, minor: usize, gpu_instance: usize) {
        // As NVIDIA's driver numbers them, see tests/nvml-sim/src/mig.rs.
        let first = 3 + minor * 135 + gpu_instance * 9;
        let folder = format!("driver/nvidia/capabilities/gpu{minor}/mig/gi{gpu_instance}");
        let names = [format!("{folder}/access"), format!("{folder}/ci0/access")];
        for (name, number) in names.iter().zip(first..) {
            let text =
                format!("DeviceFileMinor: {number}\nDeviceFileMode: 292\nDeviceFileModify: 1");
            self.kernel_says(name, &text);
            let device = StandIn::claim(1).remove(0);
            device.make(&self.dev().join(format!("nvidia-caps/nvidia-cap{number}")));
            self.devices.push(device);
        }
    }

    /// Changes the machine at once.
    pub fn write(&self, text: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, text).expect("a file");
        fs::rename(&new, self.folder.path().join("machine.toml")).expect("in its place");
    }

    /// A daemon on it.
    pub fn start(&self, arguments: &[&str]) -> Daemon {
        let library = library();
        let library = library.to_str().expect("a path that is text");
        self.start_with_library(library, arguments)
    }

    /// A daemon on it that is given another NVML.
    pub fn start_with_library(&self, library: &str, arguments: &[&str]) -> Daemon {
        let folder = self.folder.path().to_str().expect("a path that is text");
        let unshare = ["unshare", "--mount", "--propagation", "private", "--"];
        let wrapper: Vec<&str> = unshare
            .into_iter()
            .chain(["sh", "-c", ENTER, "sh", folder])
            .collect();
        let all: Vec<&str> = ["--nvml-library", library]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        Daemon::start_prepared(&wrapper, &all)
    }

    /// The device file of a GPU, as this process sees it.
    pub fn device(&self, minor: usize) -> PathBuf {
        self.dev().join(format!("nvidia{minor}"))
    }

    /// Makes another file that leads to a GPU.
    pub fn make_device(&self, minor: usize, path: &Path) {
        self.devices[minor].make(path);
    }

    /// A process that uses a GPU and is no job's.
    pub fn foreign_process(&self, minor: usize) -> ForeignProcess {
        let device = File::options()
            .read(true)
            .custom_flags(nix::libc::O_NOCTTY)
            .open(self.device(minor))
            .expect("the stand-in opens");
        let child = Command::new("sleep")
            .arg("1000")
            .stdin(device)
            .stdout(Stdio::null())
            .spawn()
            .expect("a process starts");
        ForeignProcess(child)
    }

    fn dev(&self) -> PathBuf {
        self.folder.path().join("dev")
    }
}

/// A process that uses a GPU, until it is dropped.
#[derive(Debug)]
pub struct ForeignProcess(Child);

impl ForeignProcess {
    /// Its number.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for ForeignProcess {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The simulated NVML: beside the built binary, or where Cargo left it for tests.
pub fn library() -> PathBuf {
    let binary = binary();
    let folder = binary.parent().unwrap_or(Path::new("."));
    let candidates = [folder.join(LIBRARY), folder.join("deps").join(LIBRARY)];
    let found = candidates.into_iter().find(|path| path.is_file());
    found.expect("the simulated NVML is built beside `lote`: cargo build --release --workspace")
}
