//! What a job can open.

use lote_tests::client::Client;
use lote_tests::gpus::machine::GpuMachine;
use serde_json::Value;

use crate::gpus::{ask, gpu_job, numbers};

/// Tries to open files and says how each attempt ended. `FILES` is a list of Python.
fn opening(files: &str) -> String {
    format!(
        "python3 -c \"
import errno, os, stat
def attempt(path):
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NOCTTY))
        return 'opened'
    except OSError as error:
        return errno.errorcode[error.errno]
print('visible', os.environ['CUDA_VISIBLE_DEVICES'])
print('listed', *sorted(name for name in os.listdir('/dev') if name.startswith('nvidia')))
for path in {files}:
    print(path, attempt(path))
\""
    )
}

/// Runs a job and gives the lines of its output.
fn lines(client: &Client, experiment: &str, name: &str, job: &Value) -> Vec<String> {
    let path = client.submit(experiment, name, job);
    let ended = client.wait_for_end(&path);
    assert_eq!(ended["executionState"], "succeeded", "{ended:#}");
    client.stdout(&path).lines().map(str::to_owned).collect()
}

#[test]
fn a_job_sees_and_opens_its_own_gpus_only() {
    if !crate::is_root_or_skip("a_job_sees_and_opens_its_own_gpus_only") {
        return;
    }
    let machine = GpuMachine::new(3, "[[gpu]]\nmodel = \"H100\"\ncount = 3\n");
    let daemon = machine.start(&[]);
    let (client, node, experiment) = ask(&daemon);
    let files = "['/dev/nvidia0', '/dev/nvidia1', '/dev/nvidia2', '/dev/nvidiactl']";
    let job = gpu_job(1, &opening(files));
    let found = lines(&client, &experiment, "one", &job);
    let uuid = found[0].strip_prefix("visible ").unwrap().to_owned();
    let own = numbers(&node, &[uuid])[0];
    let listed = format!("listed nvidia-uvm nvidia-uvm-tools nvidia{own} nvidiactl");
    let mut names: Vec<&str> = listed.split(' ').skip(1).collect();
    names.sort_unstable();
    assert_eq!(found[1], format!("listed {}", names.join(" ")));
    for number in 0..3 {
        let expected = if number == own { "opened" } else { "ENOENT" };
        assert_eq!(found[2 + number], format!("/dev/nvidia{number} {expected}"));
    }
    // Allowed, but there is no driver behind it.
    assert_eq!(found[5], "/dev/nvidiactl ENXIO");
}

#[test]
fn a_job_without_gpus_sees_none() {
    if !crate::is_root_or_skip("a_job_without_gpus_sees_none") {
        return;
    }
    let machine = GpuMachine::new(1, "[[gpu]]\nmodel = \"H100\"\n");
    let daemon = machine.start(&[]);
    let (client, _, experiment) = ask(&daemon);
    let job = gpu_job(
        0,
        &opening("['/dev/nvidia0', '/dev/nvidiactl', '/dev/null']"),
    );
    let found = lines(&client, &experiment, "none", &job);
    assert_eq!(
        found,
        [
            "visible ",
            "listed",
            "/dev/nvidia0 ENOENT",
            "/dev/nvidiactl ENOENT",
            "/dev/null opened"
        ]
    );
}

#[test]
fn a_file_that_leads_to_a_foreign_gpu_is_refused_by_the_kernel() {
    if !crate::is_root_or_skip("a_file_that_leads_to_a_foreign_gpu_is_refused_by_the_kernel") {
        return;
    }
    let machine = GpuMachine::new(2, "[[gpu]]\nmodel = \"H100\"\ncount = 2\n");
    let daemon = machine.start(&[]);
    let (client, node, experiment) = ask(&daemon);
    // Files with the numbers of both GPUs, in a place that the job sees and the daemon does not
    // know: as if it had made them itself.
    let outside = tempfile::Builder::new()
        .prefix("lote-made-")
        .tempdir_in("/opt")
        .unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(outside.path(), everybody).unwrap();
    let made: Vec<String> = (0..2)
        .map(|number| {
            let path = outside.path().join(format!("gpu{number}"));
            machine.make_device(number, &path);
            path.to_str().unwrap().to_owned()
        })
        .collect();
    let job = gpu_job(1, &opening(&format!("['{}', '{}']", made[0], made[1])));
    let found = lines(&client, &experiment, "one", &job);
    let uuid = found[0].strip_prefix("visible ").unwrap().to_owned();
    let own = numbers(&node, &[uuid])[0];
    assert_eq!(found[2 + own], format!("{} opened", made[own]));
    assert_eq!(found[3 - own], format!("{} EPERM", made[1 - own]));
}
