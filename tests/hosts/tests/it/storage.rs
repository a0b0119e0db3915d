//! File servers of one host, used by jobs of others. The kernel here has no NFS, so this is Ganesha
//! on one side and the client in user space on the other.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use lote_test_hosts::{HostDaemon, Lab, LabOptions};
use lote_tests::client::{Client, DEFAULT_WORKSPACE, detail, first_error, shell_job};
use lote_tests::wait_for;
use serde_json::{Value, json};

use crate::load::{CLUSTER, RECOVERY, assert_nothing_left, cluster, shared_folder};

/// How long the file server is away: longer than a job may notice.
const AWAY: Duration = Duration::from_mins(1);

/// A file server on the first host.
pub(crate) struct FileServer {
    path: String,
    /// The address of its node.
    address: String,
    /// The directory that it exports.
    export: String,
}

impl FileServer {
    /// Makes it, and waits until it can be mounted.
    pub(crate) fn create(lab: &Lab, lote: &Value) -> Self {
        let client = lab.client();
        let path = format!("{DEFAULT_WORKSPACE}/fileServers/nfs");
        let mut lote = lote.clone();
        lote["node"] = json!("h1");
        let body = json!({"properties": {
            "vmSize": "cpu",
            "sshConfiguration": {"userAccountSettings": {"adminUserName": "op"}},
            "dataDisks": {"diskSizeInGB": 1, "diskCount": 1, "storageAccountType": "Standard_LRS"},
            "lote": lote,
        }});
        let answer = client.put(&path, &body);
        assert!(matches!(answer.status, 200 | 202), "{answer:?}");
        let ready = wait_for("the file server to be ready", RECOVERY, || {
            let properties = client.get(&path).json["properties"].clone();
            assert_ne!(properties["provisioningState"], "failed", "{properties:#}");
            (properties["provisioningState"] == "succeeded").then_some(properties)
        });
        let text = |member: &str| {
            let value = ready["mountSettings"][member].as_str();
            value.expect("mount settings").to_owned()
        };
        Self {
            path,
            address: text("fileServerInternalIP"),
            export: text("mountPoint"),
        }
    }

    /// A job that has it at `$AZ_BATCHAI_JOB_MOUNT_ROOT/nfs`, its output included.
    fn mounted_by(&self, mut job: Value) -> Value {
        job["cluster"] = json!({"id": format!("{DEFAULT_WORKSPACE}/clusters/{CLUSTER}")});
        job["stdOutErrPathPrefix"] = json!("$AZ_BATCHAI_JOB_MOUNT_ROOT/nfs");
        job["mountVolumes"] = json!({"fileServers": [
            {"fileServer": {"id": self.path}, "relativeMountPath": "nfs"},
        ]});
        job
    }

    /// What a client that nobody here wrote is told.
    fn url(&self) -> String {
        format!(
            "nfs://{}{}?version=3&nfsport=2049&mountport=20048",
            self.address, self.export
        )
    }
}

/// Keeps jobs away from a host.
fn drain(daemon: &HostDaemon) {
    let drained = daemon.lote(&["node", "drain", daemon.name()]);
    assert!(drained.status.success(), "{drained:?}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a program that must end well has said.
pub(crate) fn succeeds(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Fits a line through points, together, and leaves it on the file server.
const TRAINING: &str = "
import os, sys, torch, torch.distributed as dist
dist.init_process_group('gloo')
rank, size = dist.get_rank(), dist.get_world_size()
points = [tuple(map(float, line.split())) for line in open(os.environ['AZ_BATCHAI_INPUT_DATA'])]
mine = torch.tensor(points[rank::size])
weight = torch.zeros(2, requires_grad=True)
for step in range(2000):
    loss = ((weight[0] * mine[:, 0] + weight[1] - mine[:, 1]) ** 2).mean()
    loss.backward()
    dist.all_reduce(weight.grad)
    with torch.no_grad():
        weight -= 0.1 * weight.grad / size
    weight.grad = None
with open(os.environ['AZ_BATCHAI_SHARED_JOB_TEMP'] + f'/{rank}', 'w') as mark:
    mark.write('here')
dist.barrier()
if rank == 0:
    seen = sorted(os.listdir(os.environ['AZ_BATCHAI_SHARED_JOB_TEMP']))
    with open(os.environ['AZ_BATCHAI_OUTPUT_MODEL'] + '/model.txt', 'w') as model:
        model.write(f'{weight[0]:.2f} {weight[1]:.2f} {seen}')
dist.destroy_process_group()
";

#[test]
fn two_hosts_train_on_what_lies_on_a_file_server_and_leave_the_model_there() {
    let lab = Lab::start(&LabOptions::hosts(2));
    let client = lab.client();
    cluster(&client, CLUSTER, 2);
    let server = FileServer::create(&lab, &json!({}));
    // By the daemon that does not have the files.
    let local = shared_folder(&lab);
    let points: Vec<String> = (0..64)
        .map(|x| f64::from(x) / 64.0)
        .map(|x| format!("{x} {}", 3.0f64.mul_add(x, -1.0)))
        .collect();
    fs::write(local.join("train.py"), TRAINING).unwrap();
    fs::write(local.join("points.txt"), points.join("\n")).unwrap();
    let other = &lab.daemons[1];
    let file = |name: &str| local.join(name).display().to_string();
    let (script, data) = (file("train.py"), file("points.txt"));
    succeeds(&other.lote(&["file-server", "put", "nfs", &script, &data, "in/"]));
    let listed = succeeds(&other.lote(&["file-server", "ls", "nfs", "in"]));
    assert_eq!(
        listed.split_whitespace().collect::<Vec<_>>(),
        ["points.txt", "train.py"]
    );

    let experiment = client.experiment("e");
    let job = server.mounted_by(json!({
        "nodeCount": 2,
        "inputDirectories": [{"id": "DATA", "path": "$AZ_BATCHAI_JOB_MOUNT_ROOT/nfs/in/points.txt"}],
        "outputDirectories": [{"id": "MODEL", "pathPrefix": "$AZ_BATCHAI_JOB_MOUNT_ROOT/nfs"}],
        "pyTorchSettings": {
            "pythonScriptFilePath": "$AZ_BATCHAI_JOB_MOUNT_ROOT/nfs/in/train.py",
            "pythonInterpreterPath": "/usr/bin/python3",
            "processCount": 2,
            "communicationBackend": "gloo",
        },
    }));
    let job = client.submit(&experiment, "train", &job);
    let ended = client.wait_for_end(&job);
    assert_eq!(
        ended["executionState"],
        "succeeded",
        "{ended:#}\n{:?}",
        client.output(&job, "stdouterr", "stderr-0.txt")
    );
    assert_nothing_left(&lab.daemons);
    // Both nodes are done with it, and every daemon still shows it.
    for daemon in &lab.daemons {
        let model = daemon.client().output(&job, "MODEL", "model.txt");
        assert_eq!(
            model.as_deref(),
            Some("3.00 -1.00 ['0', '1']"),
            "{}",
            daemon.name()
        );
    }
    let segment = ended["jobOutputDirectoryPathSegment"].as_str().unwrap();
    let on_disk = Path::new(&server.export).join(format!("{segment}/outputs/model.txt"));
    assert!(on_disk.exists(), "{}", on_disk.display());
}

#[test]
fn a_job_goes_on_while_the_file_server_is_away_for_a_minute() {
    let mut lab = Lab::start(&LabOptions::hosts(2));
    let client = lab.daemons[1].client();
    cluster(&client, CLUSTER, 1);
    let server = FileServer::create(&lab, &json!({}));
    drain(&lab.daemons[0]);
    let gate = shared_folder(&lab).join("gate");
    let line = format!(
        "i=0; until [ -e {} ]; do i=$((i+1)); echo line $i; echo error $i >&2; sleep 0.05; done; \
         echo in all $i; echo model > $AZ_BATCHAI_OUTPUT_MODEL/model.txt",
        gate.display()
    );
    let mut body = server.mounted_by(shell_job(&line));
    body["outputDirectories"] =
        json!([{"id": "MODEL", "pathPrefix": "$AZ_BATCHAI_JOB_MOUNT_ROOT/nfs"}]);
    let job = client.submit(&client.experiment("e"), "talker", &body);
    wait_for("the first lines on the file server", RECOVERY, || {
        let lines = client.output(&job, "stdouterr", "stdout.txt")?;
        lines.contains("line 10\n").then_some(())
    });

    lab.daemons[0].power_off();
    std::thread::sleep(AWAY);
    lab.daemons[0].start();
    lab.daemons[0].wait_until_ready();
    let spoken = count(&lab.daemons[1], &client, &job);
    fs::write(&gate, "").unwrap();
    let ended = wait_for_end(&client, &job);
    assert_eq!(ended["executionState"], "succeeded", "{ended:#}");

    let stdout = client.stdout(&job);
    let last = stdout.lines().last().expect("output");
    let all: usize = last
        .strip_prefix("in all ")
        .expect("the end")
        .parse()
        .unwrap();
    assert!(
        all >= spoken && all > 100,
        "the job stood still: {all} lines"
    );
    let numbered = |word: &str| {
        let lines: Vec<String> = (1..=all).map(|i| format!("{word} {i}\n")).collect();
        lines.concat()
    };
    assert_eq!(stdout, format!("{}in all {all}\n", numbered("line")));
    let stderr = client.output(&job, "stdouterr", "stderr.txt");
    assert_eq!(stderr.as_deref(), Some(numbered("error").as_str()));
    let model = client.output(&job, "MODEL", "model.txt");
    assert_eq!(model.as_deref(), Some("model\n"));
    assert_nothing_left(&lab.daemons);
}

/// How many lines the job has written by now, on the disk of its own host.
fn count(daemon: &HostDaemon, client: &Client, job: &str) -> usize {
    let seen = client.output(job, "stdouterr", "stdout.txt");
    assert!(!daemon.host.processes().is_empty());
    seen.map_or(0, |text| text.lines().count())
}

/// As [`Client::wait_for_end`], with the patience that a lost host asks for.
fn wait_for_end(client: &Client, job: &str) -> Value {
    wait_for("the job to end", RECOVERY, || {
        let properties = client.job(job);
        let state = properties["executionState"].as_str()?;
        matches!(state, "succeeded" | "failed").then_some(properties)
    })
}

#[test]
fn nobody_but_root_of_a_node_speaks_to_the_file_server() {
    let lab = Lab::start(&LabOptions::hosts(2));
    let client = lab.client();
    cluster(&client, CLUSTER, 1);
    let server = FileServer::create(&lab, &json!({}));
    fs::write(Path::new(&server.export).join("secret.txt"), "secret").unwrap();
    let stranger = lab.bare_host(Vec::new());
    let list = |daemon: &HostDaemon| {
        let mut command = daemon.host.command("nfs-ls");
        command
            .arg(server.url())
            .output()
            .expect("nfs-ls of libnfs-utils")
    };
    let seen = list(&lab.daemons[1]);
    assert!(text(&seen.stdout).contains("secret.txt"), "{seen:?}");
    let refused = list(&stranger);
    assert!(
        !refused.status.success() || refused.stdout.is_empty(),
        "{refused:?}"
    );

    // A job is on a node, and not root there.
    drain(&lab.daemons[0]);
    let mut job = shell_job(&format!("nfs-ls '{}' && echo listed", server.url()));
    job["cluster"] = json!({"id": format!("{DEFAULT_WORKSPACE}/clusters/{CLUSTER}")});
    let job = client.submit(&client.experiment("e"), "thief", &job);
    let ended = client.wait_for_end(&job);
    assert_eq!(ended["executionState"], "failed", "{ended:#}");
    assert!(!client.stdout(&job).contains("secret"), "{ended:#}");
}

#[test]
fn a_full_file_server_fails_the_job_and_nothing_else() {
    let disk = SmallDisk::new();
    let directory = disk.folder.display().to_string();
    // What is full stays full here, so nothing is gained by waiting for room.
    let options = ["--export-directory", &directory, "--spool-patience", "2s"];
    let lab = Lab::start(&LabOptions::hosts(2).with(&options));
    let client = lab.client();
    cluster(&client, CLUSTER, 1);
    let server = FileServer::create(&lab, &json!({}));
    drain(&lab.daemons[0]);
    let experiment = client.experiment("e");
    let mut body = server.mounted_by(shell_job(
        "head -c 64M /dev/zero > $AZ_BATCHAI_OUTPUT_MODEL/model",
    ));
    body["outputDirectories"] =
        json!([{"id": "MODEL", "pathPrefix": "$AZ_BATCHAI_JOB_MOUNT_ROOT/nfs"}]);
    let job = client.submit(&experiment, "greedy", &body);
    let ended = wait_for_end(&client, &job);
    assert_eq!(ended["executionState"], "failed", "{ended:#}");
    let error = first_error(&ended);
    assert_eq!(error["code"], "DiskFull", "{error:#}");
    assert!(detail(&error, "directory").contains("MODEL"), "{error:#}");

    // Room again, and all goes on as before.
    fs::remove_file(Path::new(&server.export).join(format!(
        "{}/outputs/model",
        ended["jobOutputDirectoryPathSegment"].as_str().unwrap()
    )))
    .unwrap();
    // The server keeps what it had open for some seconds.
    wait_for("room on the disk", RECOVERY, || {
        let free = nix::sys::statvfs::statvfs(&disk.folder).ok()?;
        (free.blocks_available() * free.fragment_size() > 8 << 20).then_some(())
    });
    let job = client.submit(
        &experiment,
        "modest",
        &server.mounted_by(shell_job("echo well")),
    );
    let ended = wait_for_end(&client, &job);
    assert_eq!(ended["executionState"], "succeeded", "{ended:#}");
    assert_eq!(client.stdout(&job), "well\n");
}

/// Writes a file of its own into what the nodes share, reads those of the others, and waits for the
/// gate.
const SHARING: &str = "
import os, sys, time
shared, rank = os.environ['AZ_BATCHAI_SHARED_JOB_TEMP'], os.environ['RANK']
with open(f'{shared}/{rank}', 'w') as file:
    file.write('from ' + rank)
def read():
    return sorted(open(f'{shared}/{name}').read() for name in os.listdir(shared))
while 'from 0 from 1 from 2' != ' '.join(read()):
    time.sleep(0.05)
print(shared, read(), flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.05)
print('still', read(), flush=True)
";

/// A job on three hosts that mounts nothing, and the gate it waits for.
fn sharing_job(folder: &Path) -> (Value, std::path::PathBuf) {
    let (script, gate) = (folder.join("share.py"), folder.join("gate"));
    fs::write(&script, SHARING).unwrap();
    let job = json!({
        "cluster": {"id": format!("{DEFAULT_WORKSPACE}/clusters/{CLUSTER}")},
        "nodeCount": 3,
        "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT",
        "pyTorchSettings": {
            "pythonScriptFilePath": script,
            "commandLineArgs": gate,
            "pythonInterpreterPath": "/usr/bin/python3",
            "processCount": 3,
            "communicationBackend": "gloo",
        },
    });
    (job, gate)
}

/// What the processes of all three hosts have said.
fn said_by_all(client: &Client, job: &str) -> Vec<String> {
    let of = |rank: usize| client.output(job, "stdouterr", &format!("stdout-{rank}.txt"));
    (0..3).map(|rank| of(rank).unwrap_or_default()).collect()
}

/// Nothing is exported, mounted or stored for jobs any more.
fn assert_nothing_shared(lab: &Lab) {
    assert_nothing_left(&lab.daemons);
    for daemon in &lab.daemons {
        wait_for("shared directories to be gone", RECOVERY, || {
            let folder = fs::read_dir(daemon.data().join("work/shared"));
            let left = folder.map_or(0, |entries| entries.flatten().count());
            let asked = fs::read_to_string(daemon.data().join("nfs/shares.json"));
            let asked = asked.unwrap_or_else(|_| "{}".to_owned());
            (left == 0 && asked.trim() == "{}").then_some(())
        });
        let mounts = daemon.data().join("mounts");
        assert!(!mounts.exists(), "{}", mounts.display());
    }
}

#[test]
fn a_gang_without_a_file_server_shares_a_directory_of_its_first_node() {
    let mut lab = Lab::start(&LabOptions::hosts(3));
    let client = lab.client();
    cluster(&client, CLUSTER, 3);
    let (body, gate) = sharing_job(&shared_folder(&lab));
    let job = client.submit(&client.experiment("e"), "share", &body);
    wait_for("all to see the files of all", RECOVERY, || {
        let properties = client.job(&job);
        assert_ne!(properties["executionState"], "failed", "{properties:#}");
        let said = said_by_all(&client, &job);
        let all = "['from 0', 'from 1', 'from 2']";
        said.iter().all(|said| said.contains(all)).then_some(())
    });
    let plan = client.get(&format!("{job}/plan")).json;
    let address = plan["sharedDirectory"]["address"].as_str().unwrap();
    let first = plan["nodes"][0]["name"].as_str().unwrap();
    let first = lab
        .daemons
        .iter()
        .position(|it| it.name() == first)
        .unwrap();
    let (server, export) = address.split_once(':').unwrap();
    assert_eq!(server, lab.daemons[first].host.address());

    // Who is not of the gang cannot mount it, and no other user of a node can look into it.
    let stranger = lab.bare_host(Vec::new());
    let url = format!("nfs://{server}{export}?version=3&nfsport=2049&mountport=20048");
    let list = |daemon: &HostDaemon| {
        let mut command = daemon.host.command("nfs-ls");
        command.arg(&url).output().expect("nfs-ls of libnfs-utils")
    };
    let refused = list(&stranger);
    assert!(
        !refused.status.success() || refused.stdout.is_empty(),
        "{refused:?}"
    );
    let other = &lab.daemons[(first + 1) % 3];
    let squashed = list(other);
    assert!(!text(&squashed.stdout).contains('0'), "{squashed:?}");

    // The daemon that serves it goes and comes; the job notices nothing.
    lab.daemons[first].kill();
    lab.daemons[first].start();
    lab.daemons[first].wait_until_ready();
    fs::write(&gate, "").unwrap();
    let ended = wait_for_end(&client, &job);
    assert_eq!(ended["executionState"], "succeeded", "{ended:#}");
    for said in said_by_all(&client, &job) {
        assert!(
            said.contains("still ['from 0', 'from 1', 'from 2']"),
            "{said}"
        );
    }
    assert_nothing_shared(&lab);
}

#[test]
fn a_gang_that_loses_the_node_that_shares_starts_again() {
    let mut lab = Lab::start(&LabOptions::hosts(4));
    let client = lab.daemons[3].client();
    cluster(&client, CLUSTER, 4);
    let (mut body, gate) = sharing_job(&shared_folder(&lab));
    body["lote"] = json!({"gracePeriod": "PT2S"});
    let job = client.submit(&client.experiment("e"), "share", &body);
    let first_of = |attempt: u64| {
        wait_for("the job to share", RECOVERY, || {
            let plan = client.get(&format!("{job}/plan")).json;
            let is_there = plan["attempt"].as_u64() == Some(attempt)
                && said_by_all(&client, &job)[0].contains("'from 2'");
            is_there.then(|| plan["nodes"][0]["name"].as_str().unwrap().to_owned())
        })
    };
    let first = first_of(1);
    let first = lab
        .daemons
        .iter()
        .position(|it| it.name() == first)
        .unwrap();
    // The daemon that is asked lives on.
    let asked = if first == 3 { 0 } else { 3 };
    let client = lab.daemons[asked].client();
    lab.daemons[first].power_off();
    wait_for("another attempt", RECOVERY, || {
        let plan = client.get(&format!("{job}/plan")).json;
        (plan["attempt"].as_u64() == Some(2)).then_some(())
    });
    fs::write(&gate, "").unwrap();
    let ended = wait_for_end(&client, &job);
    assert_eq!(ended["executionState"], "succeeded", "{ended:#}");
    lab.daemons[first].start();
    lab.daemons[first].wait_until_ready();
    assert_nothing_shared(&lab);
}

/// A file system of 32 MiB in a file.
struct SmallDisk {
    folder: std::path::PathBuf,
    _holder: tempfile::TempDir,
}

impl SmallDisk {
    fn new() -> Self {
        let holder = tempfile::Builder::new()
            .prefix("lote-disk-")
            .tempdir_in("/srv")
            .expect("a folder");
        let image = holder.path().join("image");
        let folder = holder.path().join("mounted");
        fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
        fs::create_dir(&folder).unwrap();
        let run = |program: &str, arguments: &[&Path]| {
            let output = std::process::Command::new(program).args(arguments).output();
            succeeds(&output.expect("a program of util-linux or e2fsprogs"));
        };
        run("mkfs.ext4", &[Path::new("-q"), &image]);
        run(
            "mount",
            &[Path::new("-o"), Path::new("loop"), &image, &folder],
        );
        Self {
            folder,
            _holder: holder,
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        lote_tests::mounts::remove_below(&self.folder);
    }
}
