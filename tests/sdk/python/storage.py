"""Storage: scripts, data and models on a file server and on shares. Usage: storage.py URL SCRIPT

The operator's table of the daemon has the account `recipes` (see sdk.rs).
"""

import json
import os
import shutil
import sys

from common import (GROUP, WORKSPACE, account, connect, furnish, get_job, models, ok,
                    output_files, read_file, submit, wait_for_state)

# As the job files of the original service's recipes have it.
RECIPE = {
    "nodeCount": 1,
    "pyTorchSettings": {
        "pythonScriptFilePath": "$AZ_BATCHAI_JOB_MOUNT_ROOT/scripts/pytorch/trainer.py",
        "commandLineArgs": "--epochs 10",
        "communicationBackend": "gloo",
    },
    "stdOutErrPathPrefix": "$AZ_BATCHAI_JOB_MOUNT_ROOT/logs",
    "outputDirectories": [{"id": "MODEL", "pathPrefix": "$AZ_BATCHAI_JOB_MOUNT_ROOT/logs"}],
    "mountVolumes": {"azureFileShares": [
        {"azureFileUrl": "https://recipes.file.core.windows.net/logs", "relativeMountPath": "logs"},
        {"azureFileUrl": "https://recipes.file.core.windows.net/scripts",
         "relativeMountPath": "scripts"},
    ]},
}


def succeeded(client, name):
    job = wait_for_state(client, name, "succeeded", "failed")
    if job.execution_state == "failed":
        print([(error.code, error.message, [(d.name, d.value) for d in error.details or []])
               for error in job.execution_info.errors])
        for file in output_files(client, name):
            print("---", file.name, read_file(client, name, file.name), sep="\n")
        raise AssertionError(f"job {name} failed")
    return job


def accuracy(client, name):
    assert "metrics.json" in [file.name for file in output_files(client, name, "MODEL")]
    return json.loads(read_file(client, name, "metrics.json", "MODEL"))["accuracy"]


def on_a_file_server(client, cluster, script):
    server = client.file_servers.create(GROUP, WORKSPACE, "nfs", models.FileServerCreateParameters(
        vm_size="cpu",
        ssh_configuration=models.SshConfiguration(user_account_settings=account()),
        data_disks=models.DataDisks(
            disk_size_in_gb=1, disk_count=1, storage_account_type="Standard_LRS"))).result()
    target = f"{server.mount_settings.mount_point}/train.py"
    shutil.copy(script, target)
    os.chmod(target, 0o644)
    mount = models.FileServerReference(
        file_server=models.ResourceId(id=server.id), relative_mount_path="nfs", mount_options="rw")
    job = submit(client, "train", models.JobCreateParameters(
        cluster=models.ResourceId(id=cluster.id), node_count=1,
        mount_volumes=models.MountVolumes(file_servers=[mount]),
        std_out_err_path_prefix="$AZ_BATCHAI_JOB_MOUNT_ROOT/nfs",
        output_directories=[models.OutputDirectory(
            id="MODEL", path_prefix="$AZ_BATCHAI_JOB_MOUNT_ROOT/nfs", path_suffix="models")],
        py_torch_settings=models.PyTorchSettings(
            python_script_file_path="$AZ_BATCHAI_JOB_MOUNT_ROOT/nfs/train.py",
            command_line_args="--epochs 10", process_count=2, communication_backend="gloo")))
    assert job.mount_volumes.file_servers[0].file_server.id == server.id
    succeeded(client, "train")
    assert accuracy(client, "train") > 0.9
    segment = get_job(client, "train").job_output_directory_path_segment
    stored = f"{server.mount_settings.mount_point}/{segment}/outputs/models/checkpoint.pt"
    assert os.path.getsize(stored) > 1000, stored
    ok("a job reads its script from a file server and leaves its model there")


def on_shares(client, cluster, script, shares):
    os.makedirs(f"{shares}/scripts/pytorch")
    shutil.copy(script, f"{shares}/scripts/pytorch/trainer.py")
    os.chmod(f"{shares}/scripts/pytorch/trainer.py", 0o644)
    recipe = dict(RECIPE, cluster={"id": cluster.id})
    for share in recipe["mountVolumes"]["azureFileShares"]:
        share["accountName"] = "recipes"
        share["credentials"] = {"accountKey": "bm90IHVzZWQ="}
    parameters = models.JobCreateParameters.deserialize({"properties": recipe})
    submit(client, "recipe", parameters)
    succeeded(client, "recipe")
    assert accuracy(client, "recipe") > 0.9
    listed = [file.name for file in output_files(client, "recipe")]
    assert "stdout-0.txt" in listed, listed
    ok("the shares of a recipe are those of the operator's table")

    recipe["mountVolumes"]["azureFileShares"][0]["azureFileUrl"] = (
        "https://recipes.file.core.windows.net/secret")
    recipe["mountVolumes"]["azureFileShares"][0]["accountName"] = "nobody"
    submit(client, "unknown", models.JobCreateParameters.deserialize({"properties": recipe}))
    job = wait_for_state(client, "unknown", "succeeded", "failed")
    error = job.execution_info.errors[0]
    assert (job.execution_state, error.code) == ("failed", "AZFMountError"), error.code
    assert job.execution_info.exit_code == -1
    ok("a share that is not in the table fails the job with its own code")


def main(url, script, shares):
    client = connect(url)
    cluster = furnish(client)
    on_a_file_server(client, cluster, script)
    on_shares(client, cluster, script, shares)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
