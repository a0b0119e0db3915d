//! What somebody sees of the machines who is not in the cluster's network.

use std::process::Command;

use crate::image::run;
use crate::site::Site;

/// The API's port, and what else machines have: SSH, portmapper, NFS, etcd, the daemons' own door, the
/// first ports of jobs.
const PORTS: &str = "1-1024,2049,2379-2380,8000-8500,20000-20100";

pub(crate) fn strangers_reach_the_api_only(site: &mut Site) {
    let machines = || std::iter::once(&site.head).chain(&site.workers);
    let mut scan = Command::new("nmap");
    // Most ports do not answer at all, so it is asked quickly and twice.
    scan.args(["-Pn", "-n", "-sS", "-T4", "--min-rate", "1000"]);
    scan.args(["--max-retries", "1", "-oG", "-", "-p", PORTS]);
    let said = run(scan.args(machines().map(|machine| machine.address.as_str())));
    for machine in machines() {
        let begin = format!("Host: {} ", machine.address);
        let lines = said.lines().filter(|line| line.starts_with(&begin));
        let words = lines.flat_map(|line| line.split([' ', ',', '\t']));
        let open: Vec<&str> = words.filter(|word| word.contains("/open/")).collect();
        assert!(
            matches!(open[..], [port] if port.starts_with("8471/open/tcp")),
            "{}: {said}",
            machine.name
        );
    }
}
