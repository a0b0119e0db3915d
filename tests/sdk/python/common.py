"""What the scripts share: a client, names, bodies and waiting."""

import os
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request

from azure.mgmt.batchai import BatchAIManagementClient
from azure.mgmt.batchai import models
from msrest.authentication import BasicTokenAuthentication
from msrestazure.azure_exceptions import CloudError

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
GROUP = "lab"
WORKSPACE = "vision"
EXPERIMENT = "digits"

# Long enough for anything on a busy machine of two cores.
PATIENCE_SECONDS = 90


def connect(url, subscription=SUBSCRIPTION):
    credentials = BasicTokenAuthentication({"access_token": os.environ.get("LOTE_TOKEN", "any")})
    client = BatchAIManagementClient(credentials, subscription, base_url=url)
    client.config.long_running_operation_timeout = 1
    return client


def prefix(workspace=WORKSPACE):
    return (f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
            f"/providers/Microsoft.BatchAI/workspaces/{workspace}")


def account(name="ops"):
    return models.UserAccountSettings(admin_user_name=name, admin_user_password="not-shown-again")


def cluster_parameters(nodes=1, size="cpu", **more):
    manual = models.ManualScaleSettings(target_node_count=nodes)
    return models.ClusterCreateParameters(
        vm_size=size, scale_settings=models.ScaleSettings(manual=manual),
        user_account_settings=account(), **more)


def job_parameters(cluster_id, command="true", **more):
    more.setdefault("std_out_err_path_prefix", "$AZ_BATCHAI_MOUNT_ROOT/logs")
    more.setdefault("node_count", 1)
    return models.JobCreateParameters(
        cluster=models.ResourceId(id=cluster_id),
        custom_toolkit_settings=models.CustomToolkitSettings(command_line=command), **more)


def furnish(client, nodes=1):
    """A workspace, a cluster and an experiment; answers the cluster."""
    client.workspaces.create(GROUP, WORKSPACE, "local").result()
    cluster = client.clusters.create(GROUP, WORKSPACE, "box", cluster_parameters(nodes)).result()
    client.experiments.create(GROUP, WORKSPACE, EXPERIMENT).result()
    return cluster


def submit(client, name, parameters):
    return client.jobs.create(GROUP, WORKSPACE, EXPERIMENT, name, parameters).result()


def get_job(client, name):
    return client.jobs.get(GROUP, WORKSPACE, EXPERIMENT, name)


def wait_for(what, condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def wait_for_state(client, name, *states):
    def reached():
        job = get_job(client, name)
        return job if job.execution_state in states else None
    return wait_for(f"job {name} to be {' or '.join(states)}", reached)


def output_files(client, name, directory_id="stdouterr", **options):
    return list(client.jobs.list_output_files(
        GROUP, WORKSPACE, EXPERIMENT, name,
        models.JobsListOutputFilesOptions(outputdirectoryid=directory_id, **options)))


def read(url, first=None):
    """Status and bytes behind a link, without any login."""
    request = urllib.request.Request(url)
    if first is not None:
        request.add_header("Range", f"bytes={first}-")
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def read_file(client, name, file, directory="stdouterr"):
    for listed in output_files(client, name, directory):
        if listed.name == file:
            status, content = read(listed.download_url)
            assert status == 200, status
            return content.decode()
    raise AssertionError(f"{file} is not listed in {directory}")


def refused(call, status, code):
    """Calls what must be refused; answers the error."""
    try:
        outcome = call()
        if hasattr(outcome, "result"):
            outcome = outcome.result()
        elif hasattr(outcome, "__next__"):
            outcome = list(outcome)
    except CloudError as error:
        assert error.status_code == status, (error.status_code, error.message)
        assert error.error.error == code, (error.error.error, error.message)
        assert error.message, "an error without a sentence"
        return error
    raise AssertionError(f"expected {status} {code}, got {outcome!r}")


def shared_folder():
    """A folder that a job's user may read, wherever the checkout is."""
    return tempfile.TemporaryDirectory(dir="/var/lib")


def copy_in(file, folder):
    os.chmod(folder, 0o755)
    target = os.path.join(folder, os.path.basename(file))
    shutil.copy(file, target)
    os.chmod(target, 0o644)
    return target


def ok(what):
    print("ok:", what, flush=True)


def run(main):
    sys.exit(main(connect(sys.argv[1]), *sys.argv[2:]))
