"""Clusters: every field, scaling, states, deletion. Usage: clusters.py URL"""

from common import (GROUP, WORKSPACE, cluster_parameters, furnish, get_job, job_parameters, models,
                    ok, prefix, refused, run, submit, wait_for, wait_for_state)


def get(client, name="box"):
    return client.clusters.get(GROUP, WORKSPACE, name)


def scale(client, **settings):
    return client.clusters.update(
        GROUP, WORKSPACE, "box", models.ScaleSettings(**settings))


def counts(cluster):
    counts = cluster.node_state_counts
    numbers = (counts.idle_node_count, counts.running_node_count, counts.preparing_node_count,
               counts.unusable_node_count, counts.leaving_node_count)
    assert all(isinstance(number, int) for number in numbers), numbers
    return numbers


def main(client):
    cluster = furnish(client, nodes=0)
    assert cluster.id == f"{prefix()}/clusters/box"
    assert cluster.type == "Microsoft.BatchAI/workspaces/clusters"
    assert cluster.vm_size == "CPU" and cluster.vm_priority == "dedicated"
    manual = cluster.scale_settings.manual
    assert (manual.target_node_count, manual.node_deallocation_option) == (0, "requeue")
    image = cluster.virtual_machine_configuration.image_reference
    assert (image.publisher, image.offer, image.sku, image.version) == \
        ("Canonical", "UbuntuServer", "16.04-LTS", "latest")
    assert cluster.user_account_settings.admin_user_name == "ops"
    assert cluster.user_account_settings.admin_user_password is None
    assert cluster.provisioning_state == "succeeded"
    assert cluster.allocation_state_transition_time and cluster.provisioning_state_transition_time
    assert counts(cluster) == (0, 0, 0, 0, 0)
    ok("a cluster has its defaults filled in and shows no password")

    same = client.clusters.create(GROUP, WORKSPACE, "box", cluster_parameters(0)).result()
    assert same.creation_time == cluster.creation_time
    refused(lambda: client.clusters.create(GROUP, WORKSPACE, "box", cluster_parameters(0, "big")),
            409, "ClusterAlreadyExists")
    ok("the same PUT again is the same cluster, another one is refused")

    updated = scale(client, manual=models.ManualScaleSettings(target_node_count=1))
    assert updated.scale_settings.manual.target_node_count == 1
    full = wait_for("the node to be there", lambda: steady(client, 1))
    assert counts(full) == (1, 0, 0, 0, 0), counts(full)
    ok("a cluster grows")

    job = submit(client, "busy", job_parameters(cluster.id, "sleep 1000"))
    wait_for_state(client, "busy", "running")
    assert counts(get(client)) == (0, 1, 0, 0, 0)
    ok("a node with a job is a running one")

    scale(client, manual=models.ManualScaleSettings(
        target_node_count=0, node_deallocation_option="waitforjobcompletion"))
    leaving = wait_for("the node to be leaving", lambda: left(client, 1))
    assert leaving.current_node_count == 1 and leaving.allocation_state == "resizing"
    assert get_job(client, "busy").execution_state == "running"
    ok("a node that waits for its job is leaving and still counted")

    scale(client, manual=models.ManualScaleSettings(
        target_node_count=0, node_deallocation_option="requeue"))
    wait_for_state(client, "busy", "queued")
    wait_for("the node to be gone", lambda: steady(client, 0))
    ok("a job is put back into the queue when its node is taken")

    auto = scale(client, auto_scale=models.AutoScaleSettings(
        minimum_node_count=0, maximum_node_count=1))
    assert auto.scale_settings.manual is None
    assert auto.scale_settings.auto_scale.maximum_node_count == 1
    assert auto.scale_settings.auto_scale.initial_node_count == 0
    wait_for_state(client, "busy", "running")
    ok("a cluster that scales by itself gets nodes for its queue")

    scale(client, manual=models.ManualScaleSettings(
        target_node_count=0, node_deallocation_option="terminate"))
    ended = wait_for_state(client, "busy", "failed")
    assert ended.execution_info.exit_code is None and ended.execution_info.errors
    wait_for("the node to be gone", lambda: steady(client, 0))
    ok("a job is ended for good when the cluster says so")

    listed_and_deleted(client, job.id)
    return 0


def steady(client, nodes):
    cluster = get(client)
    there = cluster.allocation_state == "steady" and cluster.current_node_count == nodes
    return cluster if there else None


def left(client, nodes):
    cluster = get(client)
    return cluster if cluster.node_state_counts.leaving_node_count == nodes else None


def listed_and_deleted(client, job_id):
    client.clusters.create(GROUP, WORKSPACE, "annex", cluster_parameters(
        0, "cpu", vm_priority="lowpriority",
        virtual_machine_configuration=models.VirtualMachineConfiguration(
            image_reference=models.ImageReference(
                publisher="microsoft-ads", offer="linux-data-science-vm-ubuntu",
                sku="linuxdsvmubuntu")))).result()
    annex = get(client, "annex")
    assert annex.vm_priority == "lowpriority"
    assert annex.virtual_machine_configuration.image_reference.version == "latest"
    options = models.ClustersListByWorkspaceOptions(max_results=1)
    names = [one.name for one in client.clusters.list_by_workspace(GROUP, WORKSPACE, options)]
    assert names == ["annex", "box"], names
    ok("clusters are listed page by page")

    client.clusters.delete(GROUP, WORKSPACE, "annex").result()
    refused(lambda: get(client, "annex"), 404, "ClusterNotFound")
    client.clusters.delete(GROUP, WORKSPACE, "annex").result()
    ok("a cluster is deleted, once or twice")

    submit(client, "orphan", job_parameters(f"{prefix()}/clusters/box"))
    client.clusters.delete(GROUP, WORKSPACE, "box").result()
    orphan = wait_for_state(client, "orphan", "failed")
    assert "box" in orphan.execution_info.errors[0].message, orphan.execution_info.errors[0].message
    assert job_id.endswith("/jobs/busy")
    ok("a job whose cluster is deleted fails and names the cluster")


if __name__ == "__main__":
    run(main)
