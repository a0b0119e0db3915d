//! The bridge, and a namespace per host.

use std::time::Duration;

use lote_tests::ip::{ip, tc};

/// How many networks can exist on one machine at once.
const NETWORKS: u32 = 250;

/// A bridge with an address of its own, `10.213.N.254`, from which the tests reach every host.
/// Dropping it removes it.
#[derive(Debug)]
pub struct Network {
    number: u32,
}

/// One host's side of the network. Dropping it removes it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    /// The end of the cable that lies on the bridge.
    port: String,
    bridge: String,
    address: String,
}

impl Network {
    /// Makes a network that no other test has.
    pub fn create() -> Self {
        let first = std::process::id() % NETWORKS;
        let numbers = (0..NETWORKS).map(|offset| (first + offset) % NETWORKS);
        let mut refusal = String::new();
        for number in numbers {
            let network = format!("lt{number}");
            match ip(&["link", "add", &network, "type", "bridge"]) {
                Ok(()) => {
                    let network = Self { number };
                    network.set_up();
                    return network;
                }
                Err(error) if error.contains("File exists") => {}
                Err(error) => {
                    refusal = error;
                    break;
                }
            }
        }
        panic!("cannot make a bridge (root is needed): {refusal}");
    }

    fn set_up(&self) {
        let bridge = self.bridge();
        let address = format!("10.213.{}.254/24", self.number);
        ip(&["address", "add", &address, "dev", &bridge]).expect("an address for the bridge");
        ip(&["link", "set", &bridge, "up"]).expect("the bridge comes up");
    }

    /// Tells this network from others on the machine, in names.
    pub fn label(&self) -> String {
        format!("lt{}", self.number)
    }

    fn bridge(&self) -> String {
        self.label()
    }

    /// Adds a host with the address `10.213.N.{index}`; `index` is 1 to 253.
    pub fn namespace(&self, index: u8) -> Namespace {
        let name = format!("{}-{index}", self.label());
        let namespace = Namespace {
            port: format!("{}p{index}", self.label()),
            bridge: self.bridge(),
            address: format!("10.213.{}.{index}", self.number),
            name,
        };
        namespace.set_up().expect("a network namespace");
        namespace
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        ip(&["link", "delete", &self.bridge()]).ok();
    }
}

impl Namespace {
    fn set_up(&self) -> Result<(), String> {
        let name = self.name.as_str();
        ip(&["netns", "add", name])?;
        ip(&[
            "link", "add", &self.port, "type", "veth", "peer", "name", "eth0", "netns", name,
        ])?;
        let address = format!("{}/24", self.address);
        ip(&["-n", name, "address", "add", &address, "dev", "eth0"])?;
        ip(&["-n", name, "link", "set", "eth0", "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        ip(&["link", "set", &self.port, "up"])?;
        self.plug_in()
    }

    fn plug_in(&self) -> Result<(), String> {
        ip(&["link", "set", &self.port, "master", &self.bridge])
    }

    /// Its address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The file that names it for `nsenter`.
    pub(crate) fn file(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Pulls the cable: nothing comes in or out, and nobody is told.
    pub fn cut(&self) {
        ip(&["link", "set", &self.port, "nomaster"]).expect("the cable can be pulled");
    }

    /// Plugs the cable in again, and takes away a delay.
    pub fn heal(&self) {
        self.plug_in().expect("the cable can be plugged in");
        tc(&["qdisc", "delete", "dev", &self.port, "root"]).ok();
    }

    /// Delays everything that the host receives. Fails with the reason where the kernel has no
    /// `netem`.
    pub fn delay(&self, delay: Duration) -> Result<(), String> {
        let delay = format!("{}ms", delay.as_millis());
        tc(&[
            "qdisc", "replace", "dev", &self.port, "root", "netem", "delay", &delay,
        ])
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&["link", "delete", &self.port]).ok();
        ip(&["netns", "delete", &self.name]).ok();
    }
}
