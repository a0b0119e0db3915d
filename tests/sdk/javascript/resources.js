// Workspaces, experiments and clusters. Usage: resources.js URL
"use strict";

const {
  EXPERIMENT, GROUP, PREFIX, WORKSPACE, all, assert, cluster, furnish, job, ok, refused, run,
  submit, waitFor, waitForState,
} = require("./common");

async function workspaces(api) {
  const made = await api.workspaces.create(GROUP, WORKSPACE, { location: "local", tags: { a: "1" } });
  assert.strictEqual(made.id, PREFIX);
  assert.strictEqual(made.provisioningState, "succeeded");
  assert(made.creationTime instanceof Date && !Number.isNaN(made.creationTime.getTime()));
  const updated = await api.workspaces.update(GROUP, WORKSPACE, { tags: { b: "2" } });
  assert.deepStrictEqual(updated.tags, { b: "2" });
  assert.deepStrictEqual((await api.workspaces.get(GROUP, WORKSPACE)).tags, { b: "2" });
  await api.workspaces.create(GROUP, "other", { location: "local" });
  const { items, pages } = await all(
    api.workspaces.listByResourceGroup(GROUP, { workspacesListByResourceGroupOptions: { maxResults: 1 } }),
    (link) => api.workspaces.listByResourceGroupNext(link));
  assert.deepStrictEqual(items.map((one) => one.name), ["other", WORKSPACE]);
  assert(pages >= 2);
  const everywhere = await all(api.workspaces.list(), (link) => api.workspaces.listNext(link));
  assert(everywhere.items.some((one) => one.name === "other"));
  ok("workspaces are created, updated and listed page by page");
}

async function clusters(api) {
  const box = await furnish(api, 1);
  assert.strictEqual(box.id, `${PREFIX}/clusters/box`);
  assert.strictEqual(box.scaleSettings.manual.nodeDeallocationOption, "requeue");
  assert.strictEqual(box.virtualMachineConfiguration.imageReference.publisher, "Canonical");
  const full = await waitFor("the node to be there", async () => {
    const found = await api.clusters.get(GROUP, WORKSPACE, "box");
    return found.currentNodeCount === 1 && found.allocationState === "steady" && found;
  });
  assert.deepStrictEqual(full.nodeStateCounts, {
    idleNodeCount: 1, runningNodeCount: 0, preparingNodeCount: 0, unusableNodeCount: 0, leavingNodeCount: 0,
  });
  await submit(api, "endless", job(box.id, "sleep 1000"));
  await waitForState(api, "endless", "running");
  const auto = await api.clusters.update(GROUP, WORKSPACE, "box", {
    scaleSettings: { autoScale: { minimumNodeCount: 0, maximumNodeCount: 1 } },
  });
  assert.strictEqual(auto.scaleSettings.manual, undefined);
  assert.strictEqual(auto.scaleSettings.autoScale.initialNodeCount, 0);
  await api.clusters.create(GROUP, WORKSPACE, "annex", cluster(0, { vmPriority: "lowpriority" }));
  const { items } = await all(
    api.clusters.listByWorkspace(GROUP, WORKSPACE, { clustersListByWorkspaceOptions: { maxResults: 1 } }),
    (link) => api.clusters.listByWorkspaceNext(link));
  assert.deepStrictEqual(items.map((one) => [one.name, one.vmPriority]),
    [["annex", "lowpriority"], ["box", "dedicated"]]);
  await refused(() => api.clusters.create(GROUP, WORKSPACE, "annex", cluster(0)),
    409, "ClusterAlreadyExists");
  ok("clusters are created, scaled, counted and listed page by page");
}

async function experiments(api) {
  const made = await api.experiments.create(GROUP, WORKSPACE, "zoo");
  assert.strictEqual(made.id, `${PREFIX}/experiments/zoo`);
  assert.strictEqual((await api.experiments.get(GROUP, WORKSPACE, "zoo")).name, "zoo");
  const { items } = await all(
    api.experiments.listByWorkspace(GROUP, WORKSPACE, { experimentsListByWorkspaceOptions: { maxResults: 1 } }),
    (link) => api.experiments.listByWorkspaceNext(link));
  assert.deepStrictEqual(items.map((one) => one.name), [EXPERIMENT, "zoo"]);
  ok("experiments are created and listed page by page");
}

async function deletions(api) {
  await api.clusters.deleteMethod(GROUP, WORKSPACE, "annex");
  await refused(() => api.clusters.get(GROUP, WORKSPACE, "annex"), 404, "ClusterNotFound");
  await api.clusters.deleteMethod(GROUP, WORKSPACE, "annex");
  await api.experiments.deleteMethod(GROUP, WORKSPACE, EXPERIMENT);
  await refused(() => api.experiments.get(GROUP, WORKSPACE, EXPERIMENT), 404, "ExperimentNotFound");
  await api.workspaces.deleteMethod(GROUP, WORKSPACE);
  await refused(() => api.workspaces.get(GROUP, WORKSPACE), 404, "WorkspaceNotFound");
  await api.workspaces.deleteMethod(GROUP, WORKSPACE);
  ok("deletions wait for their end, whether there was something or not");
}

run(async (api) => {
  await workspaces(api);
  await clusters(api);
  await experiments(api);
  await deletions(api);
});
