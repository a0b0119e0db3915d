"""Secrets, mounts, containers, node set-up, resubmission. Usage: bodies.py URL"""

from common import (EXPERIMENT, GROUP, WORKSPACE, cluster_parameters, furnish, get_job,
                    job_parameters, models, ok, prefix, read_file, refused, run, submit,
                    wait_for, wait_for_state)

SECRET = "pa55-of-the-sdk-test"


def main(client):
    cluster = furnish(client)
    secrets(client, cluster.id)
    mounts(client, cluster.id)
    containers(client, cluster.id)
    node_setup(client)
    return 0


def secrets(client, cluster):
    parameters = job_parameters(cluster, 'echo -n "$TOKEN" | sha256sum; echo ${#TOKEN}', secrets=[
        models.EnvironmentVariableWithSecretValue(name="TOKEN", value=SECRET)])
    job = submit(client, "secret", parameters)
    assert [(one.name, one.value, one.value_secret_reference) for one in job.secrets] == \
        [("TOKEN", None, None)]
    done = wait_for_state(client, "secret", "succeeded", "failed")
    assert done.execution_state == "succeeded", done.execution_info.errors
    output = read_file(client, "secret", "stdout.txt").splitlines()
    assert output[1] == str(len(SECRET)), output
    assert submit(client, "secret", parameters).creation_time == job.creation_time
    other = job_parameters(cluster, parameters.custom_toolkit_settings.command_line, secrets=[
        models.EnvironmentVariableWithSecretValue(name="TOKEN", value="another")])
    refused(lambda: submit(client, "secret", other), 409, "JobAlreadyExists")
    ok("a secret reaches the job, is never shown, and counts when compared")


def share(key="a2V5"):
    return models.AzureFileShareReference(
        account_name="acct", azure_file_url="https://acct.file.core.windows.net/logs",
        credentials=models.AzureStorageCredentialsInfo(account_key=key),
        relative_mount_path="logs")


def mounts(client, cluster):
    volumes = models.MountVolumes(azure_file_shares=[share()], unmanaged_file_systems=[
        models.UnmanagedFileSystemReference(mount_command="mount -t nfs a:/b", relative_mount_path="u")])
    job = submit(client, "mounted", job_parameters(cluster, mount_volumes=volumes))
    shown = job.mount_volumes.azure_file_shares[0]
    assert shown.credentials is not None and shown.credentials.account_key is None
    assert (shown.file_mode, shown.directory_mode) == ("0777", "0777")
    failed = wait_for_state(client, "mounted", "failed")
    assert failed.execution_info.errors[0].code == "AZFMountError", failed.execution_info.errors[0].code
    ok("a mount that cannot be made yet fails the job and says so")

    # Resubmission as the recipes' utilities do it: take what GET shows, put the
    # key back in, delete the failed job, PUT.
    failed.mount_volumes.azure_file_shares[0].credentials.account_key = "a2V5"
    client.jobs.delete(GROUP, WORKSPACE, EXPERIMENT, "mounted").result()
    again = models.JobCreateParameters(
        cluster=failed.cluster, node_count=failed.node_count,
        std_out_err_path_prefix=failed.std_out_err_path_prefix,
        scheduling_priority=failed.scheduling_priority,
        constraints=failed.constraints, mount_volumes=failed.mount_volumes,
        custom_toolkit_settings=failed.custom_toolkit_settings)
    fresh = submit(client, "mounted", again)
    assert fresh.creation_time > failed.creation_time
    ok("what GET shows can be submitted again")


def containers(client, cluster):
    settings = models.ContainerSettings(
        image_source_registry=models.ImageSourceRegistry(
            image="lab/train:1", server_url="images.lab", credentials=models.PrivateRegistryCredentials(
                username="u", password=SECRET)),
        shm_size="64m")
    job = submit(client, "boxed", job_parameters(cluster, container_settings=settings))
    registry = job.container_settings.image_source_registry
    assert (registry.image, registry.credentials.username) == ("lab/train:1", "u")
    assert registry.credentials.password is None and job.container_settings.shm_size == "64m"
    failed = wait_for_state(client, "boxed", "failed")
    error = failed.execution_info.errors[0]
    assert error.code == "FailedStartingContainer", error.code
    assert {"imageName": "lab/train:1"}.items() <= {d.name: d.value for d in error.details}.items()
    ok("an image that the node cannot have fails the job and says so")


def node_setup(client):
    setup = models.NodeSetup(
        setup_task=models.SetupTask(
            command_line="true", std_out_err_path_prefix="$AZ_BATCHAI_MOUNT_ROOT/logs",
            secrets=[models.EnvironmentVariableWithSecretValue(name="KEY", value=SECRET)]),
        mount_volumes=models.MountVolumes(azure_file_shares=[share()]))
    cluster = client.clusters.create(
        GROUP, WORKSPACE, "setup", cluster_parameters(1, node_setup=setup)).result()
    task = cluster.node_setup.setup_task
    assert task.secrets[0].name == "KEY" and task.secrets[0].value is None
    assert task.std_out_err_path_suffix.startswith(
        f"{prefix().split('/')[2]}/{GROUP}/workspaces/{WORKSPACE}/clusters/setup/")
    wait_for("the cluster to say what is wrong",
             lambda: client.clusters.get(GROUP, WORKSPACE, "setup").errors)
    submit(client, "unserved", job_parameters(cluster.id))
    assert get_job(client, "unserved").execution_state == "queued"
    ok("a set-up task that cannot be run yet is told in the cluster's errors")
    client.clusters.delete(GROUP, WORKSPACE, "setup").result()


if __name__ == "__main__":
    run(main)
