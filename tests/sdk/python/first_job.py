"""Submits the demo training with the unmodified Python SDK and reads its output.

Usage: first_job.py URL SCRIPT
"""

import os
import shutil
import sys
import tempfile
import time
import urllib.request

from azure.mgmt.batchai import BatchAIManagementClient
from azure.mgmt.batchai import models
from msrest.authentication import BasicTokenAuthentication

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"


def main(url, script):
    credentials = BasicTokenAuthentication({"access_token": "any"})
    client = BatchAIManagementClient(credentials, SUBSCRIPTION, base_url=url)
    client.config.long_running_operation_timeout = 1

    client.workspaces.create("lab", "vision", "local").result()
    cluster = client.clusters.create("lab", "vision", "box", models.ClusterCreateParameters(
        vm_size="CPU",
        scale_settings=models.ScaleSettings(manual=models.ManualScaleSettings(target_node_count=1)),
        user_account_settings=models.UserAccountSettings(
            admin_user_name="ops", admin_user_password="not used"))).result()
    client.experiments.create("lab", "vision", "digits").result()

    # The job's user must be able to read the script, wherever the checkout is.
    with tempfile.TemporaryDirectory(dir="/var/lib") as folder:
        shutil.copy(script, f"{folder}/train.py")
        os.chmod(folder, 0o755)
        os.chmod(f"{folder}/train.py", 0o644)
        job = client.jobs.create("lab", "vision", "digits", "train", models.JobCreateParameters(
            cluster=models.ResourceId(id=cluster.id),
            node_count=1,
            std_out_err_path_prefix="$AZ_BATCHAI_MOUNT_ROOT/logs",
            input_directories=[models.InputDirectory(id="SCRIPT", path=folder)],
            output_directories=[models.OutputDirectory(
                id="MODEL", path_prefix="$AZ_BATCHAI_MOUNT_ROOT", path_suffix="models")],
            py_torch_settings=models.PyTorchSettings(
                python_script_file_path="$AZ_BATCHAI_INPUT_SCRIPT/train.py",
                process_count=2,
                communication_backend="gloo"))).result()
        print("submitted", job.id, job.execution_state)
        while job.execution_state not in ("succeeded", "failed"):
            time.sleep(0.2)
            job = client.jobs.get("lab", "vision", "digits", "train")

    print("state", job.execution_state)
    if job.execution_state == "failed":
        for error in job.execution_info.errors:
            print(error.code, error.message, [(d.name, d.value) for d in error.details or []])
        for stream in ("stdout-0.txt", "stderr-0.txt", "stderr-1.txt"):
            print("---", stream)
            print(read(client, "stdouterr", stream))
        return 1
    assert job.execution_info.exit_code == 0
    assert job.tool_type == "pytorch"
    print(read(client, "stdouterr", "stdout-0.txt"))
    print("metrics", read(client, "MODEL", "metrics.json"))
    return 0


def read(client, directory, name):
    files = client.jobs.list_output_files(
        "lab", "vision", "digits", "train",
        models.JobsListOutputFilesOptions(outputdirectoryid=directory))
    for file in files:
        if file.name == name:
            return urllib.request.urlopen(file.download_url).read().decode()
    raise SystemExit(f"{name} is not listed in {directory}")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
