//! Machines without a disk: one boots over the network, one from an optical medium.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lote_tests::daemon::binary;

use crate::jobs::ranks_run_on;
use crate::machine::{Boot, Machine, Plan};
use crate::network::BOOT_PORT;
use crate::site::{HERE, Site};

/// What the node that boots over the network is called.
const BY_NETWORK: &str = "w3";

/// What the node that boots from an optical medium is called.
const BY_MEDIUM: &str = "w4";

/// The cluster of both, and the size of their nodes.
const DISKLESS: &str = "diskless";

/// `lote image serve`, until dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

pub(crate) fn machines_without_disks_work(site: &mut Site) {
    let _server = serve_image(site);
    // What a worker had, the new ones may have.
    drop(site.workers.pop());
    site.log("w2 is off");
    let medium = medium(site);
    for (name, index, boot) in [
        (BY_NETWORK, 3, Boot::Network),
        (BY_MEDIUM, 4, Boot::Medium(medium)),
    ] {
        let plan = Plan {
            name,
            index,
            boot,
            disk: None,
            empty_disks: 0,
            memory_mib: 2560,
            processors: 1,
        };
        let machine = Machine::start(plan, &site.network, &site.folder());
        site.workers.push(machine);
    }
    site.log("two machines without a disk are on, one with an optical medium");
    for name in [BY_NETWORK, BY_MEDIUM] {
        site.until(&format!("{name} to join"), |site| site.node(name));
        site.log(&format!("{name} has joined"));
    }
    site.create_cluster(DISKLESS, DISKLESS);
    ranks_run_on(site, "mpi-diskless", DISKLESS, &[BY_NETWORK, BY_MEDIUM]);
}

/// Serves what machines boot from, with what they are told.
fn serve_image(site: &Site) -> Server {
    let address = site.network.address(254);
    let server = Command::new(binary())
        .args(["image", "serve"])
        .arg(site.image.file("network"))
        .args(["--listen", &format!("{address}:{BOOT_PORT}")])
        .args([
            "--append",
            &format!("{HERE} {} lote.size={DISKLESS}", site.words(BY_NETWORK)),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    Server(server.expect("lote can be run"))
}

/// An optical medium that tells its machine how to join.
fn medium(site: &Site) -> PathBuf {
    let medium = site.folder().join("w4.iso");
    let options = format!("size = '{DISKLESS}'\n{}", site.options(BY_MEDIUM));
    let files = [
        ("lote.toml", options),
        ("lote.token", site.join_token().to_owned()),
        ("lote.network", site.network.cluster()),
        ("loader/entries/lote.conf", site.image.boot_entry_with(HERE)),
    ];
    let files: Vec<(PathBuf, &str)> = files
        .into_iter()
        .map(|(target, text)| {
            let name = format!("w4-{}", target.replace('/', "-"));
            (PathBuf::from(site.file(&name, &text)), target)
        })
        .collect();
    site.image.medium_with(Path::new(&medium), &files);
    medium
}
