// The framework plugin {{name}}.
//
// It starts one command several times on each node and tells every process its place, in
// the variables that PyTorch and many others read. Change it into your framework: `validate`
// checks what users ask for, `plan` says what runs where. Both depend on their arguments
// only; there is no file, no network and no clock in here.

const VERSION = "0.1.0";
const PROCESSES_MAX = 64;

const SCHEMA = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  properties: {
    commandLine: { type: "string", description: "Shell text that every process runs." },
    processesPerNode: {
      type: "integer",
      minimum: 1,
      maximum: PROCESSES_MAX,
      default: 1,
      description: "How many processes start on each node.",
    },
  },
  required: ["commandLine"],
  additionalProperties: false,
  examples: [{ commandLine: "python3 train.py", processesPerNode: 2 }],
};

/** The settings with their defaults, and everything that is wrong with them. */
function checked(settings) {
  const issues = [];
  for (const name of Object.keys(settings)) {
    if (!(name in SCHEMA.properties)) {
      issues.push({ path: `/${name}`, message: `unknown member ${name}` });
    }
  }
  const { commandLine, processesPerNode = 1 } = settings;
  if (typeof commandLine !== "string" || commandLine.trim() === "") {
    issues.push({
      path: "/commandLine",
      message: "commandLine is required and must not be empty",
      hint: "give the command that every process runs, such as `python3 train.py`",
    });
  }
  const fits = Number.isInteger(processesPerNode) && processesPerNode >= 1 && processesPerNode <= PROCESSES_MAX;
  if (!fits) {
    issues.push({
      path: "/processesPerNode",
      message: `processesPerNode must be a whole number from 1 to ${PROCESSES_MAX}`,
    });
  }
  return { settings: { commandLine, processesPerNode }, issues };
}

const variable = (name, value) => ({ name, value: String(value) });

// What is thrown becomes the error case of the contract's result.
export const framework = {
  describe() {
    return {
      name: "{{name}}",
      // No member of its own: jobs choose it by name, in `pluginSettings`.
      settingsMember: "pluginSettings",
      summary: "Runs a command in several processes on every node",
      version: VERSION,
      settingsSchema: JSON.stringify(SCHEMA),
      startsPeers: false,
    };
  },

  validate(job) {
    const { settings, issues } = checked(JSON.parse(job.settings));
    if (issues.length > 0) {
      throw issues;
    }
    return JSON.stringify(settings);
  },

  plan(job, allocation) {
    const { settings, issues } = checked(JSON.parse(job.settings));
    if (issues.length > 0) {
      throw { tag: "invalid", val: issues };
    }
    const perNode = settings.processesPerNode;
    const first = allocation.nodes[0];
    const processes = allocation.nodes.flatMap((node) =>
      Array.from({ length: perNode }, (_, local) => {
        const rank = node.rank * perNode + local;
        return {
          name: `rank-${rank}`,
          node: node.rank,
          command: { tag: "shell", val: settings.commandLine },
          variables: [variable("RANK", rank), variable("LOCAL_RANK", local)],
          workingDirectory: undefined,
          output: String(rank),
          gpus: { tag: "all" },
          part: "primary",
          onFailure: { tag: "fail-job" },
          stage: 0,
        };
      }),
    );
    const variables = [
      variable("WORLD_SIZE", processes.length),
      variable("MASTER_ADDR", first.address),
      variable("MASTER_PORT", first.ports[0]),
    ];
    return { variables, files: [], processes, finish: [] };
  },
};
