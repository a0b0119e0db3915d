//! The network of the machines: a bridge of the host, and a DHCP server on it, which is the site's.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lote_tests::ip::ip;

/// How many such networks one host can have.
const NETWORKS: u32 = 200;

/// A bridge on which the host has the address `10.214.N.254`: outside of the cluster, whose machines
/// are below `10.214.N.128`. Dropping it removes it.
pub(crate) struct Network {
    number: u32,
    dhcp: Option<Child>,
}

/// A machine's cable. Dropping it removes it.
pub(crate) struct Port {
    name: String,
    address: String,
    mac: String,
}

/// Where the script of a network boot is served on the host's address.
pub(crate) const BOOT_PORT: u16 = 8470;

impl Network {
    /// Makes one that no other test has, with a DHCP server that keeps its files in `folder`.
    pub(crate) fn create(folder: &Path) -> Self {
        let first = std::process::id() % NETWORKS;
        let mut numbers = (0..NETWORKS).map(|offset| (first + offset) % NETWORKS);
        let number = numbers
            .find(|number| {
                let made = ip(&["link", "add", &format!("lm{number}"), "type", "bridge"]);
                match made {
                    Ok(()) => true,
                    Err(error) if error.contains("File exists") => false,
                    Err(error) => panic!("cannot make a bridge: {error}"),
                }
            })
            .expect("a number that is free");
        let mut network = Self { number, dhcp: None };
        let (bridge, address) = (network.bridge(), network.address(254));
        ip(&["address", "add", &format!("{address}/24"), "dev", &bridge]).expect("an address");
        ip(&["link", "set", &bridge, "up"]).expect("the bridge comes up");
        network.dhcp = Some(network.serve_addresses(folder));
        network
    }

    fn bridge(&self) -> String {
        format!("lm{}", self.number)
    }

    /// An address in it.
    pub(crate) fn address(&self, index: u8) -> String {
        format!("10.214.{}.{index}", self.number)
    }

    /// The addresses of the cluster's machines, which the host is not among.
    pub(crate) fn cluster(&self) -> String {
        format!("10.214.{}.0/25", self.number)
    }

    fn serve_addresses(&self, folder: &Path) -> Child {
        let log = fs::File::create(folder.join("dhcp.log")).expect("a log file");
        let host = self.address(254);
        let mut command = Command::new("dnsmasq");
        command
            .args([
                "--no-daemon",
                "--conf-file=/dev/null",
                "--port=0",
                "--no-ping",
            ])
            .args(["--log-dhcp", "--user=root", "--bind-interfaces"])
            .arg(format!("--interface={}", self.bridge()))
            .arg("--except-interface=lo")
            .arg(format!(
                "--dhcp-leasefile={}",
                folder.join("leases").display()
            ))
            .arg("--pid-file=")
            .arg(format!(
                "--dhcp-range={},static,255.255.255.0,1h",
                self.address(0)
            ))
            .arg(format!("--dhcp-boot=http://{host}:{BOOT_PORT}/boot.ipxe"));
        for index in 1..20 {
            command.arg(format!(
                "--dhcp-host={},{}",
                mac(self.number, index),
                self.address(index)
            ));
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be cloned"))
            .stderr(log)
            .spawn()
            .expect("dnsmasq of Debian's package dnsmasq-base")
    }

    /// A cable for the machine that the DHCP server gives this address.
    pub(crate) fn port(&self, index: u8) -> Port {
        let name = format!("{}-{index}", self.bridge());
        ip(&["tuntap", "add", "dev", &name, "mode", "tap"]).expect("a network device of a machine");
        let port = Port {
            address: self.address(index),
            mac: mac(self.number, index),
            name,
        };
        ip(&["link", "set", &port.name, "master", &self.bridge()]).expect("it is plugged in");
        ip(&["link", "set", &port.name, "up"]).expect("it comes up");
        port
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(mut dhcp) = self.dhcp.take() {
            dhcp.kill().ok();
            dhcp.wait().ok();
        }
        ip(&["link", "delete", &self.bridge()]).ok();
    }
}

impl Port {
    /// The network device of the host that the machine is connected to.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The machine's address.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The hardware address of the machine.
    pub(crate) fn mac(&self) -> &str {
        &self.mac
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        ip(&["link", "delete", &self.name]).ok();
    }
}

fn mac(number: u32, index: u8) -> String {
    format!("52:54:00:4c:{number:02x}:{index:02x}")
}
