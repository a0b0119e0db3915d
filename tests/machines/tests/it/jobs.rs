//! What jobs find on real machines: MPI, control groups of version 2, the filter of devices.

use lote_tests::client::DEFAULT_WORKSPACE;
use lote_tests::mpi;
use serde_json::{Value, json};

use crate::site::{CLUSTER, FILES, Site};

/// Where jobs see the file server.
pub(crate) const MOUNTED: &str = "$AZ_BATCHAI_JOB_MOUNT_ROOT/nfs";

/// A job of the workers, with its output on a file server.
fn job(nodes: u32, server: &str, more: &Value) -> Value {
    let server = format!("{DEFAULT_WORKSPACE}/fileServers/{server}");
    let mut properties = json!({
        "cluster": {"id": format!("{DEFAULT_WORKSPACE}/clusters/{CLUSTER}")},
        "nodeCount": nodes,
        "stdOutErrPathPrefix": MOUNTED,
        "mountVolumes": {"fileServers": [
            {"fileServer": {"id": server}, "relativeMountPath": "nfs"},
        ]},
    });
    for (member, value) in more.as_object().into_iter().flatten() {
        properties[member] = value.clone();
    }
    json!({"properties": properties})
}

/// A job of one line of the shell on one node.
pub(crate) fn shell_job(line: &str, more: &Value) -> Value {
    shell_job_with(FILES, line, more)
}

/// The same with its output on this file server.
pub(crate) fn shell_job_with(server: &str, line: &str, more: &Value) -> Value {
    let mut job = job(1, server, more);
    job["properties"]["customToolkitSettings"] = json!({"commandLine": line});
    job
}

impl Site {
    /// Submits a job.
    pub(crate) fn submit(&self, name: &str, job: &Value) {
        let file = self.file(&format!("{name}.json"), &job.to_string());
        self.ask(&["job", "create", "-f", &file, name]);
        self.log(&format!("submitted: {name}"));
    }

    /// Waits until a job has ended; its properties. The API may be away meanwhile.
    pub(crate) fn wait_for_end(&mut self, name: &str) -> Value {
        let ended = self.until(&format!("the end of {name}"), |site| {
            let job = site.job_now(name)?;
            let ended = ["succeeded", "failed"].contains(&job["executionState"].as_str()?);
            ended.then_some(job)
        });
        self.log(&format!(
            "{}: {name}",
            ended["executionState"].as_str().unwrap_or_default()
        ));
        ended
    }

    /// A job's properties, if the API answers.
    pub(crate) fn job_now(&self, name: &str) -> Option<Value> {
        let shown = self.look(&["job", "show", name, "-o", "json"])?;
        Some(shown["properties"].clone())
    }

    /// Waits until a job has succeeded; what it wrote.
    pub(crate) fn succeed(&mut self, name: &str) -> String {
        let ended = self.wait_for_end(name);
        let output = self.output(name, "stdout.txt");
        let errors = self.output(name, "stderr.txt");
        assert_eq!(
            ended["executionState"], "succeeded",
            "{ended:#}\n{output:?}\n{errors:?}"
        );
        output.expect("an output")
    }

    /// A file of a job's output, if it is there.
    pub(crate) fn output(&self, name: &str, file: &str) -> Option<String> {
        self.fetch(name, "stdouterr", file)
    }

    /// A file of one of a job's output directories, if it is there.
    pub(crate) fn fetch(&self, name: &str, directory: &str, file: &str) -> Option<String> {
        let arguments = [
            "job", "files", "get", name, "-d", directory, "--to", "-", file,
        ];
        self.lote(&arguments).ok()
    }
}

pub(crate) fn mpi_starts_ranks_on_both_workers(site: &mut Site) {
    let program = site.folder().join("sum");
    mpi::compile("mpicc", mpi::SUM, &program);
    let program = program.display().to_string();
    site.ask(&["file-server", "put", FILES, &program, "in/"]);
    ranks_run_on(site, "mpi", CLUSTER, &["w1", "w2"]);
}

/// Runs a rank on each of these two nodes, which are their cluster's.
pub(crate) fn ranks_run_on(site: &mut Site, name: &str, cluster: &str, nodes: &[&str; 2]) {
    // Each rank's node has a /tmp of its own, and the same program in it.
    let line =
        format!("bash -c 'cp {MOUNTED}/in/sum /tmp/sum && chmod +x /tmp/sum && exec /tmp/sum'");
    let mpi = json!({
        "cluster": {"id": format!("{DEFAULT_WORKSPACE}/clusters/{cluster}")},
        "customMpiSettings": {"commandLine": line, "processCount": 2},
    });
    site.submit(name, &job(2, FILES, &mpi));
    let output = site.succeed(name);
    for node in nodes {
        let said = output.lines().any(|line| {
            line.starts_with("rank ") && line.ends_with(&format!(" of 2 on {node}: 1"))
        });
        assert!(said, "{node}: {output}");
    }
}

/// Burns a processor for six seconds and says how much of it was had.
const BURN: &str = "python3 -c '
import time
begin, used = time.monotonic(), time.process_time()
while time.monotonic() < begin + 6: pass
print((time.process_time() - used) / (time.monotonic() - begin))
'";

/// Starts processes until the kernel refuses.
const FORK: &str = "python3 -c '
import os, time
count = 0
try:
    while count < 100:
        if os.fork() == 0:
            time.sleep(1000)
        count += 1
except BlockingIOError:
    print(\"refused after\", count, flush=True)
'";

pub(crate) fn limits_hold(site: &mut Site) {
    let jobs = [
        (
            "memory",
            "python3 -c 'print(len(bytearray(256 << 20)))'",
            json!({"resources": {"cpusPerNode": 0.3, "memory": "64m"}}),
        ),
        (
            "processors",
            BURN,
            json!({"resources": {"cpusPerNode": 0.25, "memory": "64m"}}),
        ),
        (
            "processes",
            FORK,
            json!({"resources": {"cpusPerNode": 0.3, "memory": "256m", "processes": 20},
                   "gracePeriod": "PT0S"}),
        ),
    ];
    for (name, line, lote) in &jobs {
        site.submit(name, &shell_job(line, &json!({"lote": lote})));
    }
    let ended = site.wait_for_end("memory");
    let error = &ended["executionInfo"]["errors"][0];
    assert_eq!(error["code"], "JobOutOfMemory", "{ended:#}");
    let share: f64 = site.succeed("processors").trim().parse().expect("a number");
    assert!(share < 0.35, "a quarter of a processor was {share}");
    let output = site.succeed("processes");
    let count = output.trim().strip_prefix("refused after ");
    let count: u32 = count
        .and_then(|count| count.parse().ok())
        .expect("a refusal");
    assert!(count < 20, "{output}");
}

/// Makes device files that everybody may open, where every job sees them. The word that is appended
/// is where something has to be mounted.
const MAKE_DEVICES: &str = "sh -c 'mkdir -p /opt/made; for i in 10:229 1:5; do \
     rm -f /opt/made/$i; mknod -m 666 /opt/made/$i c ${i%:*} ${i#*:}; done; \
     mount -t tmpfs none \"$1\"' sh";

pub(crate) fn the_kernel_refuses_a_device(site: &mut Site) {
    let line = "python3 -c '
import errno, os
for name in (\"1:5\", \"10:229\"):
    try:
        os.close(os.open(\"/opt/made/\" + name, os.O_RDWR))
        print(name, \"opened\")
    except OSError as error:
        print(name, errno.errorcode[error.errno])
'";
    let mut job = shell_job(line, &json!({}));
    job["properties"]["mountVolumes"]["unmanagedFileSystems"] =
        json!([{"mountCommand": MAKE_DEVICES, "relativeMountPath": "made"}]);
    site.submit("devices", &job);
    // /dev/zero is every job's; /dev/fuse is nobody's.
    assert_eq!(site.succeed("devices"), "1:5 opened\n10:229 EPERM\n");
    for name in ["w1", "w2"] {
        let node = site.node(name).expect("a node").to_string();
        assert!(node.contains("by a filter at its cgroup"), "{node}");
    }
}
