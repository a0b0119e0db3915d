"""What belongs to the subscription or to nodes: catalogue, usages, remote login.
Usage: subscription.py URL"""

from common import (EXPERIMENT, GROUP, WORKSPACE, furnish, job_parameters, ok, run, submit,
                    wait_for, wait_for_state)

NOUNS = ("workspaces", "workspaces/experiments", "workspaces/experiments/jobs",
         "workspaces/clusters", "workspaces/fileservers")


def main(client):
    operations = list(client.operations.list())
    names = {operation.name for operation in operations}
    assert len(operations) == 26 == len(names), len(operations)
    for noun in NOUNS:
        for verb in ("read", "write", "delete"):
            assert f"Microsoft.BatchAI/{noun}/{verb}" in names, (noun, verb)
    assert all(operation.display.description and operation.display.provider
               for operation in operations)
    ok("the catalogue of operations is complete")

    cluster = furnish(client)
    wait_for("the node to be there", lambda: client.clusters.get(
        GROUP, WORKSPACE, "box").current_node_count == 1)
    usages = {usage.name.value: usage for usage in client.usages.list("local")}
    clusters = usages["Clusters"]
    assert clusters.current_value >= 1 and clusters.limit >= clusters.current_value
    cores = usages["Total Cluster Dedicated Regional vCPUs"]
    assert cores.current_value >= 1 and cores.limit >= cores.current_value
    assert all(usage.unit == "Count" and usage.name.localized_value for usage in usages.values())
    ok("usages count what there is")

    logins = list(client.clusters.list_remote_login_information(GROUP, WORKSPACE, "box"))
    assert len(logins) == 1
    assert logins[0].node_id and logins[0].ip_address and logins[0].port == 22, logins[0]
    submit(client, "busy", job_parameters(cluster.id, "sleep 1000"))
    wait_for_state(client, "busy", "running")
    of_job = list(client.jobs.list_remote_login_information(
        GROUP, WORKSPACE, EXPERIMENT, "busy"))
    assert [one.node_id for one in of_job] == [logins[0].node_id]
    ok("the nodes of a cluster and of a job tell where to log in")
    client.jobs.delete(GROUP, WORKSPACE, EXPERIMENT, "busy").result()
    return 0


if __name__ == "__main__":
    run(main)
