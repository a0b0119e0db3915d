"""What is refused, with which code and sentence. Usage: failures.py URL"""

import urllib.request

from msrest.exceptions import ClientRequestError

from common import (EXPERIMENT, GROUP, SUBSCRIPTION, WORKSPACE, cluster_parameters, connect,
                    furnish, job_parameters, models, ok, prefix, refused, run, submit)


def main(client):
    cluster = furnish(client)
    missing(client)
    invalid(client, cluster.id)
    on_the_wire(client)
    return 0


def missing(client):
    at = (GROUP, WORKSPACE, EXPERIMENT, "nothing")
    error = refused(lambda: client.jobs.get(*at), 404, "JobNotFound")
    assert error.message == "The specified job nothing is not found", error.message
    refused(lambda: client.jobs.terminate(*at), 404, "JobNotFound")
    options = models.JobsListOutputFilesOptions(outputdirectoryid="stdouterr")
    refused(lambda: client.jobs.list_output_files(*at, options), 404, "JobNotFound")
    refused(lambda: client.jobs.list_remote_login_information(*at), 404, "JobNotFound")
    refused(lambda: client.jobs.list_by_experiment(GROUP, WORKSPACE, "nothing"),
            404, "ExperimentNotFound")
    refused(lambda: client.experiments.get(GROUP, WORKSPACE, "nothing"), 404, "ExperimentNotFound")
    refused(lambda: client.experiments.create(GROUP, "nothing", "e"), 404, "WorkspaceNotFound")
    refused(lambda: client.clusters.get(GROUP, WORKSPACE, "nothing"), 404, "ClusterNotFound")
    refused(lambda: client.clusters.list_remote_login_information(GROUP, WORKSPACE, "nothing"),
            404, "ClusterNotFound")
    scale = models.ScaleSettings(manual=models.ManualScaleSettings(target_node_count=1))
    refused(lambda: client.clusters.update(GROUP, WORKSPACE, "nothing", scale),
            404, "ClusterNotFound")
    refused(lambda: client.file_servers.get(GROUP, WORKSPACE, "nothing"),
            404, "FileServerNotFound")
    refused(lambda: client.workspaces.get(GROUP, "nothing"), 404, "WorkspaceNotFound")
    refused(lambda: client.workspaces.update(GROUP, "nothing", {}), 404, "WorkspaceNotFound")
    ok("what is missing is 404 with the code of its kind")


def invalid(client, cluster):
    job = job_parameters(cluster)
    job.node_count = 0
    error = refused(lambda: submit(client, "bad", job), 400, "InvalidParameter")
    assert error.error.target == "/properties/nodeCount", error.error.target

    error = refused(lambda: submit(client, "bad", job_parameters(f"{prefix()}/clusters/nothing")),
                    400, "ClusterNotFound")
    assert "nothing" in error.message

    two = job_parameters(cluster)
    two.py_torch_settings = models.PyTorchSettings(python_script_file_path="x.py")
    refused(lambda: submit(client, "bad", two), 400, "InvalidParameter")

    none = job_parameters(cluster)
    none.custom_toolkit_settings = None
    refused(lambda: submit(client, "bad", none), 400, "InvalidParameter")

    both = cluster_parameters()
    both.scale_settings.auto_scale = models.AutoScaleSettings(
        minimum_node_count=0, maximum_node_count=1)
    refused(lambda: client.clusters.create(GROUP, WORKSPACE, "bad", both), 400, "InvalidParameter")

    upside_down = models.ScaleSettings(auto_scale=models.AutoScaleSettings(
        minimum_node_count=2, maximum_node_count=1))
    error = refused(lambda: client.clusters.update(GROUP, WORKSPACE, "box", upside_down),
                    400, "InvalidParameter")
    assert "minimumNodeCount" in error.error.target, error.error.target
    assert [job.name for job in client.jobs.list_by_experiment(GROUP, WORKSPACE, EXPERIMENT)] == []
    assert [one.name for one in client.clusters.list_by_workspace(GROUP, WORKSPACE)] == ["box"]
    ok("what is wrong is 400 with a target, and nothing is stored")


def on_the_wire(client):
    """Request ids, which clients print with every error."""
    request = urllib.request.Request(
        f"{client.config.base_url}{prefix()}?api-version=2018-05-01",
        headers={"x-ms-client-request-id": "mine"})
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["x-ms-client-request-id"] == "mine"
        assert answer.headers["x-ms-request-id"]
    error = refused(lambda: client.workspaces.get(GROUP, "nothing"), 404, "WorkspaceNotFound")
    assert error.request_id, "no x-ms-request-id"
    nobody = connect("http://127.0.0.1:9", SUBSCRIPTION)
    nobody.config.retry_policy.retries = 0
    try:
        nobody.workspaces.get(GROUP, WORKSPACE)
        raise AssertionError("somebody answers on port 9")
    except ClientRequestError:
        pass
    ok("errors carry the id of the request")


if __name__ == "__main__":
    run(main)
