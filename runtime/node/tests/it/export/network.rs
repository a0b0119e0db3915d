//! Clients in network name spaces of their own.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A network with this machine as `gateway` and some clients.
pub struct Network {
    bridge: String,
    third: u32,
    clients: Vec<String>,
}

fn ip(words: &str) -> bool {
    let status = Command::new("ip")
        .args(words.split_whitespace())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

impl Network {
    /// `None` where name spaces or links cannot be made.
    pub fn new(clients: usize) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = std::process::id() % 10_000 * 10 + NEXT.fetch_add(1, Ordering::Relaxed);
        let mut network = Self {
            bridge: format!("ltx{number}"),
            third: number % 250,
            clients: Vec::new(),
        };
        let bridge = network.bridge.clone();
        let gateway = network.gateway();
        let made = ip(&format!("link add {bridge} type bridge"))
            && ip(&format!("address add {gateway}/24 dev {bridge}"))
            && ip(&format!("link set {bridge} up"));
        (made && (0..clients).all(|index| network.add(index))).then_some(network)
    }

    fn add(&mut self, index: usize) -> bool {
        let name = format!("{}-{index}", self.bridge);
        let (port, bridge) = (format!("{}p{index}", self.bridge), &self.bridge);
        let address = self.address(index);
        let made = ip(&format!("netns add {name}"))
            && ip(&format!(
                "link add {port} type veth peer name eth0 netns {name}"
            ))
            && ip(&format!("link set {port} master {bridge} up"))
            && ip(&format!("-n {name} address add {address}/24 dev eth0"))
            && ip(&format!("-n {name} link set eth0 up"));
        self.clients.push(name);
        made
    }

    /// This machine's address in it.
    pub fn gateway(&self) -> String {
        format!("10.231.{}.1", self.third)
    }

    /// The address of a client.
    pub fn address(&self, index: usize) -> String {
        format!("10.231.{}.{}", self.third, index + 2)
    }

    /// Starts a program at a client.
    pub fn start(&self, index: usize, program: &str, arguments: &[&str]) -> Child {
        Command::new("ip")
            .args(["netns", "exec", &self.clients[index], program])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.clients {
            ip(&format!("netns delete {name}"));
        }
        ip(&format!("link delete {}", self.bridge));
    }
}
