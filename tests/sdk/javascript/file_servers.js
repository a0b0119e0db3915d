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
  const server = await api.fileServers.create(GROUP, WORKSPACE, "nfs", PARAMETERS);
  assert.strictEqual(server.id, `${PREFIX}/fileservers/nfs`);
  assert.strictEqual(server.provisioningState, "succeeded");
  assert.strictEqual(server.mountSettings.fileServerInternalIP, "127.0.0.1");
  assert.ok(server.mountSettings.mountPoint.startsWith("/"));
  assert.strictEqual(server.dataDisks.cachingType, "none");
  assert.strictEqual(server.sshConfiguration.userAccountSettings.adminUserPassword, undefined);
  ok("a file server is created, and says where it is mounted from");

  const { items } = await all(
    api.fileServers.listByWorkspace(GROUP, WORKSPACE, { fileServersListByWorkspaceOptions: { maxResults: 1 } }),
    (link) => api.fileServers.listByWorkspaceNext(link));
  assert.deepStrictEqual(items.map((one) => one.name), ["nfs"]);
  await api.fileServers.deleteMethod(GROUP, WORKSPACE, "nfs");
  await refused(() => api.fileServers.get(GROUP, WORKSPACE, "nfs"), 404, "FileServerNotFound");
  await api.fileServers.deleteMethod(GROUP, WORKSPACE, "nfs");
  ok("file servers are listed and deleted, once or twice");
});
