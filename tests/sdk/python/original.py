"""Submits a published job file of the original service by its unmodified Python client.

Usage: original.py URL FILE ACCOUNT. Prints what became of the job, and its output.
"""

import json
import os
import time

from common import (GROUP, WORKSPACE, EXPERIMENT, cluster_parameters, connect, get_job, models,
                    output_files, read, run, submit)

# Seconds that no job of these takes; one that does hangs.
HANGS = 240

PLACEHOLDER = "<AZURE_BATCHAI_STORAGE_ACCOUNT>"


def published(file, account):
    """The file as the service's own command line read it: it put in the account and its key."""
    with open(file) as opened:
        body = json.loads(opened.read().replace(PLACEHOLDER, account))
    volumes = body["properties"]["mountVolumes"]
    for mount in volumes["azureFileShares"] + volumes.get("azureBlobFileSystems", []):
        mount.setdefault("accountName", account)
        mount.setdefault("credentials", {"accountKey": "bm90IHVzZWQ="})
    return models.JobCreateParameters.deserialize(body)


def main(client, file, account):
    client.workspaces.create(GROUP, WORKSPACE, "local").result()
    cluster = client.clusters.create(GROUP, WORKSPACE, "box", cluster_parameters(2)).result()
    client.experiments.create(GROUP, WORKSPACE, EXPERIMENT).result()
    parameters = published(file, account)
    parameters.cluster = models.ResourceId(id=cluster.id)
    name = os.path.basename(file).split(".")[0]
    job = submit(client, name, parameters)
    begin = time.monotonic()
    while (job.execution_state not in ("succeeded", "failed")
           and time.monotonic() < begin + HANGS):
        time.sleep(0.2)
        job = get_job(client, name)
    execution = job.execution_info
    print("state", job.execution_state, "exit code", execution and execution.exit_code)
    for error in execution and execution.errors or []:
        print(error.code, error.message, [(each.name, each.value) for each in error.details or []])
    for listed in output_files(client, name):
        print("---", listed.name)
        print(read(listed.download_url)[1].decode(errors="replace"))
    return 0


if __name__ == "__main__":
    run(main)
