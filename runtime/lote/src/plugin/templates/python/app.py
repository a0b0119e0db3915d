"""The framework plugin {{name}}.

It starts one command several times on each node and tells every process its place, in
the variables that PyTorch and many others read. Change it into your framework: `validate`
checks what users ask for, `plan` says what runs where. Both depend on their arguments
only; there is no file, no network and no clock in here.
"""

import json
from pathlib import Path

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.framework import Descriptor
from wit_world.imports.types import (
    Allocation,
    Command_Shell,
    GpuShare_All,
    Issue,
    Job,
    LaunchPlan,
    OnFailure_FailJob,
    Part,
    PlanFailure_Invalid,
    Process,
    Variable,
)

VERSION = "0.1.0"
# Read when the component is built, and part of it from then on.
SCHEMA = Path(__file__).with_name("settings.schema.json").read_text()
PROCESSES_MAX = 64


def checked(settings):
    """The settings with their defaults, or everything that is wrong with them."""
    issues = []
    for name in settings.keys() - {"commandLine", "processesPerNode"}:
        issues.append(Issue("/" + name, f"unknown member {name}", None))
    command = settings.get("commandLine")
    if not isinstance(command, str) or not command.strip():
        hint = "give the command that every process runs, such as `python3 train.py`"
        issues.append(Issue("/commandLine", "commandLine is required and must not be empty", hint))
    count = settings.get("processesPerNode", 1)
    if type(count) is not int or not 1 <= count <= PROCESSES_MAX:
        message = f"processesPerNode must be a whole number from 1 to {PROCESSES_MAX}"
        issues.append(Issue("/processesPerNode", message, None))
    if issues:
        raise Err(issues)
    return {"commandLine": command, "processesPerNode": count}


class Framework(exports.Framework):
    def describe(self) -> Descriptor:
        return Descriptor(
            name="{{name}}",
            # No member of its own: jobs choose it by name, in `pluginSettings`.
            settings_member="pluginSettings",
            summary="Runs a command in several processes on every node",
            version=VERSION,
            settings_schema=SCHEMA,
            starts_peers=False,
        )

    def validate(self, job: Job) -> str:
        return json.dumps(checked(json.loads(job.settings)))

    def plan(self, job: Job, allocation: Allocation) -> LaunchPlan:
        try:
            settings = checked(json.loads(job.settings))
        except Err as error:
            raise Err(PlanFailure_Invalid(error.value)) from None
        per_node = settings["processesPerNode"]
        first = allocation.nodes[0]
        processes = [
            Process(
                name=f"rank-{node.rank * per_node + local}",
                node=node.rank,
                command=Command_Shell(settings["commandLine"]),
                variables=[
                    Variable("RANK", str(node.rank * per_node + local)),
                    Variable("LOCAL_RANK", str(local)),
                ],
                working_directory=None,
                output=str(node.rank * per_node + local),
                gpus=GpuShare_All(),
                part=Part.PRIMARY,
                on_failure=OnFailure_FailJob(),
                stage=0,
            )
            for node in allocation.nodes
            for local in range(per_node)
        ]
        variables = [
            Variable("WORLD_SIZE", str(len(processes))),
            Variable("MASTER_ADDR", first.address),
            Variable("MASTER_PORT", str(first.ports[0])),
        ]
        return LaunchPlan(variables=variables, files=[], processes=processes, finish=[])
