// File servers. Usage: file_servers.js URL
"use strict";

const { GROUP, PREFIX, WORKSPACE, all, assert, furnish, ok, refused, run } = require("./common");

const PARAMETERS = {
  vmSize: "cpu",
  sshConfiguration: { userAccountSettings: { adminUserName: "ops", adminUserPassword: "not-shown-again" } },
  dataDisks: { diskSizeInGB: 10, diskCount: 2, storageAccountType: "Standard_LRS" },
};

run(async (api) => {
  await furnish(api, 0);
  // No node serves NFS yet: the operation says so, and the resource does.
  await assert.rejects(() => api.fileServers.create(GROUP, WORKSPACE, "nfs", PARAMETERS),
    (error) => JSON.stringify(error.body || error.message).includes("FileServerNotSupported"));
  const server = await api.fileServers.get(GROUP, WORKSPACE, "nfs");
  assert.strictEqual(server.id, `${PREFIX}/fileservers/nfs`);
  assert.strictEqual(server.provisioningState, "failed");
  assert.strictEqual(server.dataDisks.cachingType, "none");
  assert.strictEqual(server.sshConfiguration.userAccountSettings.adminUserPassword, undefined);
  ok("a file server that cannot be served fails with a reason and is kept");

  const { items } = await all(
    api.fileServers.listByWorkspace(GROUP, WORKSPACE, { fileServersListByWorkspaceOptions: { maxResults: 1 } }),
    (link) => api.fileServers.listByWorkspaceNext(link));
  assert.deepStrictEqual(items.map((one) => one.name), ["nfs"]);
  await api.fileServers.deleteMethod(GROUP, WORKSPACE, "nfs");
  await refused(() => api.fileServers.get(GROUP, WORKSPACE, "nfs"), 404, "FileServerNotFound");
  await api.fileServers.deleteMethod(GROUP, WORKSPACE, "nfs");
  ok("file servers are listed and deleted, once or twice");
});
