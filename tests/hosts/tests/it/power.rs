//! Machines that are switched off and on by an operator's command.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use lote_test_hosts::{Lab, LabOptions};
use lote_tests::client::shell_job;
use lote_tests::wait_for;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::load::{RECOVERY, cluster};

/// What stands in for the machines' management controllers: a command writes down what it is told,
/// and the test does it.
struct Controllers {
    folder: TempDir,
    /// How many orders were carried out.
    done: usize,
}

impl Controllers {
    fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("lote-power-")
            .tempdir_in("/srv")
            .expect("a folder");
        let script = folder.path().join("power");
        let text = format!(
            "#!/bin/sh\n\
             if [ -e {0}/broken ]; then echo 'no answer from the BMC' >&2; exit 3; fi\n\
             echo \"$1 $LOTE_NODE $LOTE_NODE_ADDRESS $LOTE_NODE_MAC\" >> {0}/orders\n",
            folder.path().display()
        );
        fs::write(&script, text).expect("a script");
        fs::set_permissions(&script, Permissions::from_mode(0o755)).expect("its mode");
        Self { folder, done: 0 }
    }

    fn command(&self, verb: &str) -> String {
        format!("{} {verb}", self.folder.path().join("power").display())
    }

    fn broken(&self) -> PathBuf {
        self.folder.path().join("broken")
    }

    fn orders(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("orders")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The next order that was not carried out yet: the verb and the host.
    fn next(&mut self) -> (String, String) {
        let order = wait_for("an order to the controllers", RECOVERY, || {
            self.orders().get(self.done).cloned()
        });
        self.done += 1;
        let mut words = order.split(' ').map(str::to_owned);
        (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        )
    }
}

fn index_of(lab: &Lab, name: &str) -> usize {
    let mut daemons = lab.daemons.iter();
    daemons
        .position(|daemon| daemon.name() == name)
        .expect("a host of the lab")
}

fn node(lab: &Lab, asked: usize, name: &str) -> Value {
    let answer = lab.daemons[asked]
        .client()
        .get(&format!("/v1/nodes/{name}"));
    answer.json["properties"].clone()
}

fn wait_for_node(lab: &Lab, asked: usize, name: &str, state: &str) -> Value {
    wait_for(&format!("{name} to be {state}"), RECOVERY, || {
        let node = node(lab, asked, name);
        (node["state"] == state).then_some(node)
    })
}

/// The host whose daemon leads.
fn leader(lab: &Lab, asked: usize) -> usize {
    wait_for("a leader", RECOVERY, || {
        let leads = |name: &str| !node(lab, asked, name)["leadsSince"].is_null();
        lab.daemons.iter().position(|daemon| leads(daemon.name()))
    })
}

#[test]
fn idle_hosts_are_switched_off_and_needed_ones_on_also_when_the_leader_is_lost() {
    let mut controllers = Controllers::new();
    let (on, off) = (controllers.command("on"), controllers.command("off"));
    let options = LabOptions::hosts(4).with(&[
        "--power-on-command",
        &on,
        "--power-off-command",
        &off,
        "--power-off-after",
        "3s",
        "--keep-powered",
        "2",
    ]);
    let mut lab = Lab::start(&options);
    let leading = leader(&lab, 0);

    // Two go off, and never the one that leads.
    let mut asleep = Vec::new();
    for _ in 0..2 {
        let (verb, name) = controllers.next();
        assert_eq!(verb, "off");
        let index = index_of(&lab, &name);
        assert_ne!(index, leading);
        lab.daemons[index].power_off();
        asleep.push(index);
    }
    let first = controllers.orders();
    let address = lab.daemons[asleep[0]].host.address().to_owned();
    assert!(
        first[0].contains(&address) && first[0].contains(':'),
        "{first:?}"
    );
    for index in &asleep {
        let name = lab.daemons[*index].name().to_owned();
        let off = wait_for_node(&lab, leading, &name, "off");
        assert!(off["macAddress"].is_string(), "{off}");
    }
    let other = (0..4).find(|index| *index != leading && !asleep.contains(index));
    let other = other.expect("one that stays on");

    // A gang needs three of the four. At first their controllers do not answer.
    fs::write(controllers.broken(), "").expect("a file");
    let client = lab.daemons[other].client();
    let elastic = cluster(&client, "elastic", 4);
    let experiment = client.experiment("power");
    let mut body = shell_job("true");
    body["cluster"] = json!({"id": elastic});
    body["nodeCount"] = json!(3);
    let job = client.submit(&experiment, "gang", &body);
    wait_for("the failure to be told", RECOVERY, || {
        let mut nodes = asleep
            .iter()
            .map(|index| node(&lab, other, lab.daemons[*index].name()));
        nodes.find(|node| {
            let error = node["power"]["error"].as_str().unwrap_or_default();
            error.contains("no answer from the BMC")
        })
    });
    fs::remove_file(controllers.broken()).expect("it was there");

    // Tried again after a while; then the leader is lost before they are back.
    let (verb, first) = controllers.next();
    assert_eq!(verb, "on");
    wait_for("the job to say why it waits", RECOVERY, || {
        let job = client.job(&job);
        let waiting = job["lote"]["waiting"].as_str().unwrap_or_default();
        waiting.contains("being switched on").then_some(())
    });
    lab.daemons[leading].power_off();
    wait_for("another leader", RECOVERY, || {
        (leader(&lab, other) == other).then_some(())
    });
    let told = |name: &str| {
        let order = format!("on {name} ");
        let orders = controllers.orders();
        orders.iter().filter(|it| it.starts_with(&order)).count()
    };
    // The new leader does again what the old one may have left undone.
    wait_for("the order to be repeated", RECOVERY, || {
        (told(&first) > 1).then_some(())
    });
    for index in asleep {
        let name = lab.daemons[index].name().to_owned();
        wait_for("every order", RECOVERY, || (told(&name) > 0).then_some(()));
        lab.daemons[index].start();
        lab.daemons[index].wait_until_ready();
    }
    let ended = client.wait_for_end(&job);
    assert_eq!(ended["executionState"], "succeeded", "{ended}");
}
