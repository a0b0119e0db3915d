//! What real kernels do for jobs' files: NFS on both sides, quotas, SMB.

use std::fs;

use serde_json::{Value, json};

use crate::jobs::{MOUNTED, shell_job};
use crate::samba::{ACCOUNT, DIRECTORY, KEY, SHARE, Samba};
use crate::site::{FILES, Site};

pub(crate) fn files_lie_on_the_kernels_nfs_server(site: &mut Site) {
    let points = site.file("points.txt", "1\n2\n3\n36\n");
    site.ask(&["file-server", "put", FILES, &points, "in/"]);
    let line = "grep '/nfs nfs' /proc/self/mounts; \
         echo $(($(tr '\\n' + < $AZ_BATCHAI_INPUT_DATA)0)) | tee $AZ_BATCHAI_OUTPUT_MODEL/model.txt";
    let files = json!({
        "inputDirectories": [{"id": "DATA", "path": format!("{MOUNTED}/in/points.txt")}],
        "outputDirectories": [{"id": "MODEL", "pathPrefix": MOUNTED}],
    });
    site.submit("files", &shell_job(line, &files));
    let output = site.succeed("files");
    let mount = output.lines().next().expect("a mount");
    assert!(
        mount.contains(" nfs4 ") && mount.contains("vers=4.2"),
        "{output}"
    );
    assert!(mount.starts_with(&site.head.address), "{output}");
    assert_eq!(output.lines().nth(1), Some("42"), "{output}");
    let model = site.fetch("files", "MODEL", "model.txt");
    assert_eq!(model.as_deref(), Some("42\n"));
}

/// Takes more than the file server may have, in one piece and without writing it.
const TAKE_TOO_MUCH: &str = "cd $AZ_BATCHAI_JOB_MOUNT_ROOT/nfs && fallocate -l 64M small && \
     ! fallocate -l 1100M large 2>&1; status=$?; rm large small; exit $status";

pub(crate) fn a_file_server_is_held_to_its_size(site: &mut Site) {
    let server = site.json(&["file-server", "show", FILES, "-o", "json"]);
    let limit = &server["properties"]["lote"]["sizeLimit"];
    assert_eq!(limit["bytes"], 1u64 << 30, "{server:#}");
    assert_eq!(limit["inForce"], true, "{server:#}");
    site.submit("quota", &shell_job(TAKE_TOO_MUCH, &json!({})));
    let output = site.succeed("quota");
    // The disk has room for five times as much.
    assert!(output.contains("Disk quota exceeded"), "{output}");
}

/// A job that mounts the directory of Samba's share with this key.
fn job_with_share(line: &str, key: &str) -> Value {
    let mut job = shell_job(line, &json!({}));
    job["properties"]["mountVolumes"]["azureFileShares"] = json!([{
        "accountName": ACCOUNT,
        "azureFileUrl": format!("https://{ACCOUNT}.file.core.windows.net/{SHARE}/{DIRECTORY}"),
        "credentials": {"accountKey": key},
        "relativeMountPath": SHARE,
        "fileMode": "0640",
        "directoryMode": "0750",
    }]);
    job
}

pub(crate) fn a_share_lies_on_an_smb_server(site: &mut Site) {
    let samba = Samba::start(&site.network, &site.folder());
    fs::write(samba.path("points.txt"), "36 2 3 1\n").expect("a file");
    let line = format!(
        "cd $AZ_BATCHAI_JOB_MOUNT_ROOT/{SHARE} && grep ' {SHARE} \\| cifs ' /proc/self/mounts; \
         stat --format '%a %u %n' points.txt; id --user; \
         echo $(($(tr ' ' + < points.txt))) > sum.txt"
    );
    site.submit("smb", &job_with_share(&line, KEY));
    let output = site.succeed("smb");
    assert!(
        output.contains(" cifs ") && output.contains("vers=3."),
        "{output}"
    );
    assert!(!output.contains(KEY), "{output}");
    let user = output.lines().last().expect("an id");
    assert!(
        output.contains(&format!("640 {user} points.txt")),
        "{output}"
    );
    let sum = fs::read_to_string(samba.path("sum.txt"));
    assert_eq!(sum.ok().as_deref(), Some("42\n"));

    let wrong = "d3Jvbmc=";
    site.submit("smb-refused", &job_with_share("true", wrong));
    let ended = site.wait_for_end("smb-refused");
    let error = &ended["executionInfo"]["errors"][0];
    assert_eq!(error["code"], "AZFMountError", "{ended:#}");
    let said = ended.to_string();
    assert!(
        said.contains("Permission denied") && !said.contains(wrong),
        "{said}"
    );
}
