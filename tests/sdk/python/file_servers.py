"""File servers: the resource, its states, its operation. Usage: file_servers.py URL"""

import os

from common import GROUP, WORKSPACE, account, furnish, models, ok, prefix, refused, run


def parameters(disks=2, size="cpu"):
    return models.FileServerCreateParameters(
        vm_size=size,
        ssh_configuration=models.SshConfiguration(user_account_settings=account()),
        data_disks=models.DataDisks(
            disk_size_in_gb=10, disk_count=disks, storage_account_type="Standard_LRS"))


def create(client, name, wanted):
    return client.file_servers.create(GROUP, WORKSPACE, name, wanted).result()


def main(client):
    furnish(client, nodes=0)
    server = create(client, "nfs", parameters())
    assert server.id == f"{prefix()}/fileservers/nfs", server.id
    assert server.type == "Microsoft.BatchAI/workspaces/fileservers", server.type
    assert server.provisioning_state == "succeeded"
    assert server.mount_settings.file_server_internal_ip == "127.0.0.1", server.mount_settings
    assert os.path.isdir(server.mount_settings.mount_point), server.mount_settings
    disks = server.data_disks
    assert (disks.disk_count, disks.disk_size_in_gb, disks.caching_type) == (2, 10, "none")
    settings = server.ssh_configuration.user_account_settings
    assert settings.admin_user_name == "ops" and settings.admin_user_password is None
    assert server.creation_time and server.provisioning_state_transition_time
    ok("a file server is created, and says where it is mounted from")

    refused(lambda: client.file_servers.create(GROUP, WORKSPACE, "nfs", parameters(3)),
            409, "FileServerAlreadyExists")
    refused(lambda: client.file_servers.create(GROUP, WORKSPACE, "bad", parameters(0)),
            400, "InvalidParameter")
    ok("another one of the same name and one without disks are refused")

    create(client, "annex", parameters())
    options = models.FileServersListByWorkspaceOptions(max_results=1)
    names = [one.name for one in client.file_servers.list_by_workspace(GROUP, WORKSPACE, options)]
    assert names == ["annex", "nfs"], names
    ok("file servers are listed page by page")

    kept = f"{server.mount_settings.mount_point}/kept.txt"
    with open(kept, "w") as file:
        file.write("kept")
    for name in ("nfs", "annex", "nfs"):
        client.file_servers.delete(GROUP, WORKSPACE, name).result()
    refused(lambda: client.file_servers.get(GROUP, WORKSPACE, "nfs"), 404, "FileServerNotFound")
    assert os.path.exists(kept), "deleting a file server took its files"
    ok("file servers are deleted, once or twice, and their files stay")
    return 0


if __name__ == "__main__":
    run(main)
