// What the scripts share: a client, names, bodies and waiting.
"use strict";

const assert = require("assert");
const { TokenCredentials } = require("@azure/ms-rest-js");
const { BatchAIManagementClient } = require("@azure/arm-batchai");

const SUBSCRIPTION = "00000000-0000-0000-0000-000000000002";
const GROUP = "lab";
const WORKSPACE = "speech";
const EXPERIMENT = "words";
const PREFIX = `/subscriptions/${SUBSCRIPTION}/resourceGroups/${GROUP}` +
  `/providers/Microsoft.BatchAI/workspaces/${WORKSPACE}`;

// Long enough for anything on a busy machine of two cores.
const PATIENCE_MS = 90000;

function connect(url) {
  const credentials = new TokenCredentials(process.env.LOTE_TOKEN || "any");
  return new BatchAIManagementClient(credentials, SUBSCRIPTION,
    { baseUri: url, longRunningOperationRetryTimeout: 1 });
}

function cluster(nodes, more = {}) {
  return {
    vmSize: "cpu",
    scaleSettings: { manual: { targetNodeCount: nodes } },
    userAccountSettings: { adminUserName: "ops", adminUserPassword: "not-shown-again" },
    ...more,
  };
}

function job(clusterId, commandLine = "true", more = {}) {
  return {
    cluster: { id: clusterId },
    nodeCount: 1,
    stdOutErrPathPrefix: "$AZ_BATCHAI_MOUNT_ROOT/logs",
    customToolkitSettings: { commandLine },
    ...more,
  };
}

/** A workspace, a cluster and an experiment; answers the cluster. */
async function furnish(api, nodes = 1) {
  await api.workspaces.create(GROUP, WORKSPACE, { location: "local" });
  const box = await api.clusters.create(GROUP, WORKSPACE, "box", cluster(nodes));
  await api.experiments.create(GROUP, WORKSPACE, EXPERIMENT);
  return box;
}

function submit(api, name, parameters) {
  return api.jobs.create(GROUP, WORKSPACE, EXPERIMENT, name, parameters);
}

async function waitFor(what, condition) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await condition();
    if (found) return found;
    assert(Date.now() < deadline, `waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function waitForState(api, name, ...states) {
  return waitFor(`job ${name} to be ${states.join(" or ")}`, async () => {
    const found = await api.jobs.get(GROUP, WORKSPACE, EXPERIMENT, name);
    return states.includes(found.executionState) && found;
  });
}

/** All pages of a list; `list` makes the first call, `next` follows a link. */
async function all(list, next) {
  const items = [];
  let pages = 0;
  for (let page = await list; ; page = await next(page.nextLink)) {
    items.push(...page);
    pages += 1;
    if (!page.nextLink) return { items, pages };
  }
}

/** Calls what must be refused; answers the error. */
async function refused(call, status, code) {
  try {
    await call();
  } catch (error) {
    assert.strictEqual(error.statusCode, status, error.message);
    const found = error.code || (error.body && (error.body.code || error.body.error.code));
    assert.strictEqual(found, code, error.message);
    assert(error.message, "an error without a sentence");
    return error;
  }
  throw new Error(`expected ${status} ${code}`);
}

function ok(what) {
  console.log(`ok: ${what}`);
}

function run(main) {
  main(connect(process.argv[2])).catch((error) => {
    console.error(error);
    process.exit(1);
  });
}

module.exports = {
  EXPERIMENT, GROUP, PREFIX, WORKSPACE, all, assert, cluster, furnish, job, ok, refused, run,
  submit, waitFor, waitForState,
};
