// Jobs and their files. Usage: jobs.js URL
"use strict";

const {
  EXPERIMENT, GROUP, PREFIX, WORKSPACE, all, assert, furnish, job, ok, refused, run, submit,
  waitForState,
} = require("./common");

const AT = [GROUP, WORKSPACE, EXPERIMENT];

async function states(api, box) {
  const made = await submit(api, "greeter", job(box.id, "echo $GREETING; echo m > $AZ_BATCHAI_OUTPUT_MODEL/m", {
    schedulingPriority: "high",
    environmentVariables: [{ name: "GREETING", value: "hello" }],
    outputDirectories: [{ id: "MODEL", pathPrefix: "$AZ_BATCHAI_MOUNT_ROOT" }],
    constraints: { maxWallClockTime: "PT1H" },
  }));
  assert.strictEqual(made.id, `${PREFIX}/experiments/${EXPERIMENT}/jobs/greeter`);
  assert.strictEqual(made.toolType, "custom");
  assert.strictEqual(made.constraints.maxWallClockTime, "PT1H");
  const done = await waitForState(api, "greeter", "succeeded", "failed");
  assert.strictEqual(done.executionState, "succeeded", JSON.stringify(done.executionInfo));
  assert.strictEqual(done.executionInfo.exitCode, 0);
  assert(done.executionInfo.endTime >= done.executionInfo.startTime);
  ok("a job succeeds");

  await submit(api, "bad", job(box.id, "exit 7"));
  const bad = await waitForState(api, "bad", "failed");
  assert.strictEqual(bad.executionInfo.exitCode, 7);
  assert.strictEqual(bad.executionInfo.errors[0].code, "JobFailed");
  ok("a job fails with its exit code");

  await submit(api, "endless", job(box.id, "sleep 1000"));
  await waitForState(api, "endless", "running");
  await submit(api, "waiting", job(box.id));
  assert.strictEqual((await api.jobs.get(...AT, "waiting")).executionState, "queued");
  await api.jobs.terminate(...AT, "endless");
  const ended = await api.jobs.get(...AT, "endless");
  assert.strictEqual(ended.executionInfo.errors[0].code, "JobTerminated");
  assert.strictEqual(ended.executionInfo.exitCode, undefined);
  await api.jobs.terminate(...AT, "endless");
  await waitForState(api, "waiting", "succeeded");
  ok("a job is terminated, and the next one runs");

  const { items, pages } = await all(
    api.jobs.listByExperiment(...AT, { jobsListByExperimentOptions: { maxResults: 2 } }),
    (link) => api.jobs.listByExperimentNext(link));
  assert.deepStrictEqual(items.map((one) => one.name), ["bad", "endless", "greeter", "waiting"]);
  assert(pages >= 2);
  await api.jobs.deleteMethod(...AT, "bad");
  await refused(() => api.jobs.get(...AT, "bad"), 404, "JobNotFound");
  ok("jobs are listed page by page and deleted");
}

async function files(api) {
  const list = (id, more = {}) => api.jobs.listOutputFiles(...AT, "greeter", { outputdirectoryid: id, ...more });
  const { items, pages } = await all(list("stdouterr", { maxResults: 1 }),
    (link) => api.jobs.listOutputFilesNext(link));
  assert(pages >= 3, `${pages} pages`);
  const stdout = items.find((file) => file.name === "stdout.txt");
  assert.strictEqual(stdout.contentLength, 6);
  assert.strictEqual(await (await fetch(stdout.downloadUrl)).text(), "hello\n");
  const rest = await fetch(stdout.downloadUrl, { headers: { Range: "bytes=2-" } });
  assert.strictEqual(rest.status, 206);
  assert.strictEqual(await rest.text(), "llo\n");
  const nothing = await fetch(stdout.downloadUrl, { headers: { Range: "bytes=6-" } });
  assert.strictEqual(nothing.status, 416);
  const model = await list("MODEL");
  assert.deepStrictEqual([...model].map((file) => [file.name, file.fileType]), [["m", "file"]]);
  await refused(() => list("NOTHERE"), 400, "InvalidOutputDirectoryId");
  ok("files are listed by POST and read through their links");
}

async function failures(api, box) {
  const wrong = await refused(() => submit(api, "wrong", job(box.id, "true", { nodeCount: 0 })),
    400, "InvalidParameter");
  assert(wrong.message.includes("nodeCount"), wrong.message);
  await refused(() => submit(api, "greeter", job(box.id, "false")), 409, "JobAlreadyExists");
  await refused(() => api.jobs.terminate(...AT, "nothing"), 404, "JobNotFound");
  ok("what is wrong or missing is refused with its code");
}

run(async (api) => {
  const box = await furnish(api);
  await states(api, box);
  await files(api);
  await failures(api, box);
});
