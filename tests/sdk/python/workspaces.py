"""Workspaces and experiments: create, get, update, list, delete. Usage: workspaces.py URL"""

from common import (EXPERIMENT, GROUP, WORKSPACE, cluster_parameters, connect, furnish,
                    job_parameters, models, ok, prefix, refused, run, submit, wait_for)

TIMES = ("creation_time", "provisioning_state_transition_time")


def main(client):
    workspace = client.workspaces.create(GROUP, WORKSPACE, "local", {"team": "a"}).result()
    assert workspace.id == prefix(), workspace.id
    assert workspace.name == WORKSPACE
    assert workspace.type == "Microsoft.BatchAI/workspaces"
    assert (workspace.location, workspace.tags) == ("local", {"team": "a"})
    assert workspace.provisioning_state == "succeeded"
    assert all(getattr(workspace, time).tzinfo for time in TIMES)
    ok("a workspace is created at once")

    again = client.workspaces.create(GROUP, WORKSPACE, "local", {"team": "a"}).result()
    assert again.creation_time == workspace.creation_time
    assert client.workspaces.get(GROUP, WORKSPACE).creation_time == workspace.creation_time
    ok("a second PUT answers the first one's workspace")

    updated = client.workspaces.update(GROUP, WORKSPACE, {"team": "b", "cost": "1"})
    assert updated.tags == {"team": "b", "cost": "1"}, updated.tags
    assert client.workspaces.get(GROUP, WORKSPACE).tags == updated.tags
    ok("tags are updated")

    client.workspaces.create(GROUP, "other", "local").result()
    client.workspaces.create("lab2", "third", "local").result()
    names = [one.name for one in client.workspaces.list_by_resource_group(GROUP)]
    assert names == ["other", WORKSPACE], names
    everywhere = {one.name for one in client.workspaces.list()}
    assert {"other", WORKSPACE, "third"} <= everywhere, everywhere
    paged = client.workspaces.list_by_resource_group(
        GROUP, models.WorkspacesListByResourceGroupOptions(max_results=1))
    assert [one.name for one in paged] == names
    ok("workspaces are listed by group and by subscription, page by page")

    lower = client.workspaces.get(GROUP.upper(), WORKSPACE.upper())
    assert lower.name == WORKSPACE and lower.id == prefix()
    ok("names are found without regard to case and keep their spelling")

    experiment = client.experiments.create(GROUP, WORKSPACE, EXPERIMENT).result()
    assert experiment.id == f"{prefix()}/experiments/{EXPERIMENT}"
    assert experiment.type == "Microsoft.BatchAI/workspaces/experiments"
    assert experiment.provisioning_state == "succeeded"
    assert client.experiments.create(GROUP, WORKSPACE, EXPERIMENT).result().creation_time == \
        experiment.creation_time
    assert client.experiments.get(GROUP, WORKSPACE, EXPERIMENT).name == EXPERIMENT
    client.experiments.create(GROUP, WORKSPACE, "zoo").result()
    listed = client.experiments.list_by_workspace(
        GROUP, WORKSPACE, models.ExperimentsListByWorkspaceOptions(max_results=1))
    assert [one.name for one in listed] == [EXPERIMENT, "zoo"]
    ok("experiments are created without a body, read and listed")

    deletion(client)
    return 0


def deletion(client):
    cluster = furnish(client)
    submit(client, "endless", job_parameters(cluster.id, "sleep 1000"))
    client.experiments.delete(GROUP, WORKSPACE, EXPERIMENT).result()
    refused(lambda: client.experiments.get(GROUP, WORKSPACE, EXPERIMENT), 404, "ExperimentNotFound")
    refused(lambda: client.jobs.get(GROUP, WORKSPACE, EXPERIMENT, "endless"),
            404, "ExperimentNotFound")
    assert client.clusters.get(GROUP, WORKSPACE, "box").name == "box"
    ok("an experiment goes with its jobs and without its cluster")

    client.experiments.create(GROUP, WORKSPACE, EXPERIMENT).result()
    submit(client, "endless", job_parameters(cluster.id, "sleep 1000"))
    client.workspaces.delete(GROUP, WORKSPACE).result()
    refused(lambda: client.workspaces.get(GROUP, WORKSPACE), 404, "WorkspaceNotFound")
    refused(lambda: client.clusters.get(GROUP, WORKSPACE, "box"), 404, "WorkspaceNotFound")
    assert client.workspaces.get(GROUP, "other").name == "other"
    ok("a workspace goes with everything in it, and others stay")

    client.workspaces.delete(GROUP, WORKSPACE).result()
    client.experiments.delete(GROUP, "other", "nothing").result()
    ok("what is not there is deleted without complaint")

    fresh = client.workspaces.create(GROUP, WORKSPACE, "local").result()
    assert list(client.clusters.list_by_workspace(GROUP, WORKSPACE)) == []
    assert fresh.tags in (None, {})
    ok("a name can be used again")


if __name__ == "__main__":
    run(main)
