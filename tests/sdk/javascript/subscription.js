// What belongs to the subscription or to nodes. Usage: subscription.js URL
"use strict";

const {
  EXPERIMENT, GROUP, WORKSPACE, all, assert, furnish, job, ok, run, submit, waitFor, waitForState,
} = require("./common");

run(async (api) => {
  const operations = await all(api.operations.list(), (link) => api.operations.listNext(link));
  assert.strictEqual(operations.items.length, 26);
  assert(operations.items.every((one) => one.name.startsWith("Microsoft.BatchAI/") && one.display.operation));
  ok("the catalogue of operations is complete");

  const box = await furnish(api);
  await waitFor("the node to be there", async () =>
    (await api.clusters.get(GROUP, WORKSPACE, "box")).currentNodeCount === 1);
  const usages = await all(api.usages.list("local"), (link) => api.usages.listNext(link));
  const clusters = usages.items.find((one) => one.name.value === "Clusters");
  assert(clusters.currentValue >= 1 && clusters.limit >= clusters.currentValue);
  ok("usages count what there is");

  const logins = await all(api.clusters.listRemoteLoginInformation(GROUP, WORKSPACE, "box"),
    (link) => api.clusters.listRemoteLoginInformationNext(link));
  assert.strictEqual(logins.items.length, 1);
  assert.strictEqual(logins.items[0].port, 22);
  await submit(api, "busy", job(box.id, "sleep 1000"));
  await waitForState(api, "busy", "running");
  const ofJob = await all(api.jobs.listRemoteLoginInformation(GROUP, WORKSPACE, EXPERIMENT, "busy"),
    (link) => api.jobs.listRemoteLoginInformationNext(link));
  assert.deepStrictEqual(ofJob.items.map((one) => one.nodeId), [logins.items[0].nodeId]);
  await api.jobs.deleteMethod(GROUP, WORKSPACE, EXPERIMENT, "busy");
  ok("the nodes of a cluster and of a job tell where to log in");
});
