//! A machine without a disk.

use std::process::{Child, Command, Stdio};

use lote_tests::daemon::binary;
use serde_json::json;

use crate::jobs::shell_job;
use crate::machine::{Boot, Machine, Plan};
use crate::network::BOOT_PORT;
use crate::site::Site;

/// `lote image serve`, until dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

pub(crate) fn a_diskless_machine_works(site: &mut Site) {
    let address = site.network.address(254);
    let server = Command::new(binary())
        .args(["image", "serve"])
        .arg(site.image.file("network"))
        .args(["--listen", &format!("{address}:{BOOT_PORT}")])
        .args([
            "--append",
            &format!("{} lote.size=diskless", site.words("w3")),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    let _server = Server(server.expect("lote can be run"));
    // What a worker had, the new one may have.
    drop(site.workers.pop());
    site.log("w2 is off");
    let plan = Plan {
        name: "w3",
        index: 3,
        boot: Boot::Network,
        disk: None,
        memory_mib: 2560,
        processors: 2,
    };
    let machine = Machine::start(plan, &site.network, &site.folder());
    site.workers.push(machine);
    site.log("a machine without a disk is on");
    site.until("the machine without a disk to join", |site| site.node("w3"));
    site.log("it has joined");
    site.ask(&[
        "cluster", "create", "diskless", "--size", "diskless", "--target", "1",
    ]);
    let mut job = shell_job(
        "echo $AZ_BATCH_NODE_ID; findmnt --noheadings --output FSTYPE --target /var/tmp; \
         cat $AZ_BATCHAI_JOB_MOUNT_ROOT/nfs/in/points.txt",
        &json!({}),
    );
    let cluster = lote_tests::client::DEFAULT_WORKSPACE;
    job["properties"]["cluster"] = json!({"id": format!("{cluster}/clusters/diskless")});
    site.submit("diskless", &job);
    let output = site.succeed("diskless");
    assert!(output.starts_with("w3\n"), "{output}");
    assert!(output.ends_with("1\n2\n3\n36\n"), "{output}");
}
