//! One virtual machine.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::network::{Network, Port};

/// How a machine comes to its kernel.
pub(crate) enum Boot {
    /// By UEFI, from its disk.
    Uefi,
    /// By a loader that was told these words for the kernel's command line, from its disk.
    Direct {
        kernel: PathBuf,
        initrd: PathBuf,
        words: String,
    },
    /// By iPXE, from the network.
    Network,
    /// By UEFI, from this optical medium.
    Medium(PathBuf),
}

/// A machine to be.
pub(crate) struct Plan<'a> {
    pub(crate) name: &'a str,
    /// The last part of its address.
    pub(crate) index: u8,
    pub(crate) boot: Boot,
    pub(crate) disk: Option<PathBuf>,
    /// Empty disks, which the machine finds as [`empty_disk`] says.
    pub(crate) empty_disks: usize,
    pub(crate) memory_mib: u32,
    pub(crate) processors: u32,
}

/// How large an empty disk is; what nobody writes to takes no room here.
const EMPTY_DISK_SIZE: u64 = 1 << 30;

/// The name of an empty disk in its machine.
pub(crate) fn empty_disk(number: usize) -> String {
    format!("/dev/disk/by-id/virtio-empty-{number}")
}

/// A machine under power. Dropping it takes the power away.
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) address: String,
    child: Child,
    console: PathBuf,
    monitor: PathBuf,
    // After the child: its cable is pulled out last.
    _port: Port,
}

/// Debian's firmware for UEFI.
const FIRMWARE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
/// What the firmware remembers, empty.
const FIRMWARE_MEMORY: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

impl Machine {
    /// Switches it on. Its console is written to a file in `folder`.
    pub(crate) fn start(plan: Plan<'_>, network: &Network, folder: &Path) -> Self {
        let port = network.port(plan.index);
        let console = folder.join(format!("{}.console", plan.name));
        let monitor = folder.join(format!("{}.monitor", plan.name));
        let mut qemu = Command::new("qemu-system-x86_64");
        // Software only: Debian's kernel does not start under every KVM, and the same everywhere is
        // worth more to a test than speed.
        qemu.args(["-accel", "tcg,thread=multi,tb-size=256"])
            .args(["-machine", "q35", "-cpu", CPU])
            .args(["-smp", &plan.processors.to_string()])
            .args(["-m", &plan.memory_mib.to_string()])
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-serial", &format!("file:{}", console.display())])
            .args(["-device", "virtio-rng-pci"])
            .arg("-monitor")
            .arg(format!("unix:{},server=on,wait=off", monitor.display()))
            .arg("-netdev")
            .arg(format!(
                "tap,id=n,ifname={},script=no,downscript=no",
                port.name()
            ));
        let device = format!("virtio-net-pci,netdev=n,mac={}", port.mac());
        match plan.boot {
            Boot::Network => {
                qemu.args(["-device", &format!("{device},bootindex=1")]);
            }
            Boot::Direct {
                kernel,
                initrd,
                words,
            } => {
                qemu.args(["-device", &format!("{device},romfile=")])
                    .arg("-kernel")
                    .arg(kernel)
                    .arg("-initrd")
                    .arg(initrd)
                    .args(["-append", &words]);
            }
            Boot::Uefi => {
                qemu.args(["-device", &format!("{device},romfile=")])
                    .args(firmware(folder, plan.name));
            }
            Boot::Medium(medium) => {
                let drive = format!(
                    "if=none,id=m,media=cdrom,format=raw,file={}",
                    medium.display()
                );
                qemu.args(["-device", &format!("{device},romfile=")])
                    .args(firmware(folder, plan.name))
                    .args(["-drive", &drive, "-device", "ide-cd,drive=m"]);
            }
        }
        if let Some(disk) = plan.disk {
            // What the host has in its memory is safe from all that happens to the machine.
            let drive = format!("if=virtio,format=raw,cache=unsafe,file={}", disk.display());
            qemu.args(["-drive", &drive]);
        }
        for number in 0..plan.empty_disks {
            let file = folder.join(format!("{}.empty-{number}", plan.name));
            let disk = File::create(&file).and_then(|disk| disk.set_len(EMPTY_DISK_SIZE));
            disk.expect("an empty disk");
            qemu.arg("-drive").arg(format!(
                "if=none,id=d{number},format=raw,cache=unsafe,file={}",
                file.display()
            ));
            let device = format!("virtio-blk-pci,drive=d{number},serial=empty-{number}");
            qemu.args(["-device", &device]);
        }
        let log = File::create(folder.join(format!("{}.qemu", plan.name))).expect("a log file");
        let child = qemu
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be cloned"))
            .stderr(log)
            .spawn()
            .expect("qemu-system-x86_64 of Debian's package qemu-system-x86");
        Self {
            name: plan.name.to_owned(),
            address: port.address().to_owned(),
            child,
            console,
            monitor,
            _port: port,
        }
    }

    /// As the button does: without a word to what runs on it.
    pub(crate) fn reset(&self) {
        let mut monitor = UnixStream::connect(&self.monitor).expect("the monitor of a machine");
        monitor
            .write_all(b"system_reset\nquit_monitor\n")
            .expect("a command");
        // It obeys while somebody listens: until it says that it does not know the second word.
        let mut said = Vec::new();
        let mut bytes = [0; 4096];
        while !String::from_utf8_lossy(&said).contains("unknown command") {
            let count = monitor.read(&mut bytes).expect("an answer of the monitor");
            assert!(count > 0, "the monitor of {} has ended", self.name);
            said.extend_from_slice(&bytes[..count]);
        }
    }

    /// What it has written to its console.
    pub(crate) fn console(&self) -> String {
        let bytes = fs::read(&self.console).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether it is on. One that has ended says why.
    pub(crate) fn assert_on(&mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            let said = fs::read_to_string(self.console.with_extension("qemu"));
            panic!("{} is off: {status}: {said:?}", self.name);
        }
    }
}

/// UEFI, with a memory of its own in `folder`.
fn firmware(folder: &Path, name: &str) -> [String; 4] {
    let memory = folder.join(format!("{name}.firmware"));
    fs::copy(FIRMWARE_MEMORY, &memory).expect("the firmware of Debian's package ovmf");
    let flash = |read_only, file: &Path| {
        let file = file.display();
        format!("if=pflash,format=raw,readonly={read_only},file={file}")
    };
    let drive = || "-drive".to_owned();
    [
        drive(),
        flash("on", Path::new(FIRMWARE)),
        drive(),
        flash("off", &memory),
    ]
}

/// Its processor: what the kernel, systemd and Debian's libraries ask for, and little beyond, because
/// software has to play it.
const CPU: &str = "Westmere";

impl Drop for Machine {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
