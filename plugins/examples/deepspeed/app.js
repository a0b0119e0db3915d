// DeepSpeed: one rank per slot of every node, found by the variables that
// `deepspeed.init_distributed()` reads. The ranks are the plan's own processes, so neither
// the launcher `deepspeed` nor pdsh nor ssh is needed.

const VERSION = "0.1.0";
const SLOTS_MAX = 64;

const SCHEMA = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  properties: {
    script: { type: "string", description: "The Python script, as shell text." },
    arguments: { type: "string", description: "Its arguments, as shell text." },
    python: { type: "string", default: "python3", description: "The interpreter." },
    slotsPerNode: {
      type: "integer",
      minimum: 1,
      maximum: SLOTS_MAX,
      description: "Ranks on each node; as many as the node has GPUs when absent, at least one.",
    },
    config: { type: "object", description: "DeepSpeed's configuration, given to the script with --deepspeed_config." },
  },
  required: ["script"],
  additionalProperties: false,
  examples: [{ script: "train.py", slotsPerNode: 2, config: { train_batch_size: 32 } }],
};

const isText = (value) => typeof value === "string" && value.trim() !== "";
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** Everything that is wrong with the settings. */
function issuesOf(settings) {
  const issues = Object.keys(settings)
    .filter((name) => !(name in SCHEMA.properties))
    .map((name) => ({ path: `/${name}`, message: `unknown member ${name}` }));
  const check = (name, fits, message, hint) => {
    if (!fits(settings[name])) {
      issues.push({ path: `/${name}`, message: `${name} ${message}`, hint });
    }
  };
  const orAbsent = (fits) => (value) => value === undefined || fits(value);
  check("script", isText, "is required and must not be empty", "give the script that every rank runs, such as `train.py`");
  check("arguments", orAbsent((value) => typeof value === "string"), "must be a text");
  check("python", orAbsent(isText), "must be a text that is not empty");
  check("config", orAbsent(isObject), "must be an object");
  const isCount = (value) => Number.isInteger(value) && value >= 1 && value <= SLOTS_MAX;
  check("slotsPerNode", orAbsent(isCount), `must be a whole number from 1 to ${SLOTS_MAX}`);
  return issues;
}

const withDefaults = (settings) => ({ python: "python3", ...settings });
const variable = (name, value) => ({ name, value: String(value) });
const file = (path, contents) => ({ node: undefined, path, contents, executable: false });

function process(command, place) {
  return {
    name: `rank-${place.rank}`,
    node: place.node.rank,
    command: { tag: "shell", val: command },
    variables: [
      variable("RANK", place.rank),
      variable("LOCAL_RANK", place.local),
      variable("LOCAL_SIZE", place.slots),
      variable("CROSS_RANK", place.node.rank),
    ],
    workingDirectory: undefined,
    output: String(place.rank),
    // A rank takes the GPU of its LOCAL_RANK among all that it sees.
    gpus: { tag: "all" },
    part: "primary",
    onFailure: { tag: "fail-job" },
    stage: 0,
  };
}

export const framework = {
  describe() {
    return {
      name: "deepspeed",
      settingsMember: "pluginSettings",
      summary: "Starts a script in one DeepSpeed rank per GPU",
      version: VERSION,
      settingsSchema: JSON.stringify(SCHEMA),
      startsPeers: false,
    };
  },

  validate(job) {
    const settings = JSON.parse(job.settings);
    const issues = issuesOf(settings);
    if (issues.length > 0) {
      throw issues;
    }
    return JSON.stringify(withDefaults(settings));
  },

  plan(job, allocation) {
    const given = JSON.parse(job.settings);
    const issues = issuesOf(given);
    if (issues.length > 0) {
      throw { tag: "invalid", val: issues };
    }
    const settings = withDefaults(given);
    const [first] = allocation.nodes;
    if (first.ports.length === 0) {
      throw { tag: "unsuitable", val: "the first node has no port for the rendezvous" };
    }
    const slotsOf = (node) => settings.slotsPerNode ?? Math.max(1, node.gpus.length);
    const places = allocation.nodes
      .flatMap((node) => Array.from({ length: slotsOf(node) }, (_, local) => ({ node, local, slots: slotsOf(node) })))
      .map((place, rank) => ({ ...place, rank }));

    const files = [file("hostfile", allocation.nodes.map((node) => `${node.address} slots=${slotsOf(node)}\n`).join(""))];
    const words = ["exec", settings.python, "-u", settings.script];
    if (settings.arguments) {
      words.push(settings.arguments);
    }
    if (settings.config) {
      files.push(file("ds_config.json", JSON.stringify(settings.config)));
      words.push("--deepspeed", `--deepspeed_config=${allocation.localScratch}/ds_config.json`);
    }
    const variables = [
      variable("WORLD_SIZE", places.length),
      variable("CROSS_SIZE", allocation.nodes.length),
      variable("MASTER_ADDR", first.address),
      variable("MASTER_PORT", first.ports[0]),
      variable("AZ_BATCHAI_MPI_HOST_FILE", `${allocation.localScratch}/hostfile`),
    ];
    const processes = places.map((place) => process(words.join(" "), place));
    return { variables, files, processes, finish: [] };
  },
};
