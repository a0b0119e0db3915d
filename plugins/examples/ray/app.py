"""The framework Ray: a head, a worker on every node, and a driver.

`ray start` runs in the foreground (`--block`) for as long as the job needs it: head and
workers are supporting processes, which are stopped when the driver has ended. The driver
finds the head by `RAY_ADDRESS`, as `ray.init()` does.
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
    GpuShare_None_,
    Issue,
    Job,
    LaunchPlan,
    Node,
    OnFailure_FailJob,
    Part,
    PlanFailure_Invalid,
    PlanFailure_Unsuitable,
    Process,
    Variable,
)

VERSION = "0.1.0"
# Read when the component is built, and part of it from then on.
SCHEMA = Path(__file__).with_name("settings.schema.json").read_text()
MEMBERS = json.loads(SCHEMA)["properties"].keys()


def checked(settings):
    """The settings with their defaults, or everything that is wrong with them."""
    issues = [
        Issue(f"/{name}", f"unknown member {name}", f"known are {', '.join(MEMBERS)}")
        for name in settings
        if name not in MEMBERS
    ]
    for name, hint in [
        ("driver", "give the command of the driver, such as `python3 driver.py`"),
        ("startCommand", "leave it out to use `ray start`"),
    ]:
        settings.setdefault("startCommand", "ray start")
        value = settings.get(name)
        if not isinstance(value, str) or not value.strip():
            issues.append(Issue(f"/{name}", f"{name} must be a text that is not empty", hint))
    count = settings.get("cpusPerNode")
    if count is not None and (type(count) is not int or count < 1):
        issues.append(Issue("/cpusPerNode", "cpusPerNode must be a whole number of at least 1", None))
    if issues:
        raise Err(issues)
    return {name: value for name, value in settings.items() if value is not None}


def process(name, node, command, *, part, stage, gpus, output):
    return Process(
        name=name,
        node=node.rank,
        command=Command_Shell(command),
        variables=[],
        working_directory=None,
        output=output,
        gpus=gpus,
        part=part,
        on_failure=OnFailure_FailJob(),
        stage=stage,
    )


def worker(start: str, address: str, node: Node, cpus):
    options = [
        f"--address={address}",
        f"--node-ip-address={node.address}",
        f"--num-cpus={cpus or node.cpu_cores}",
        f"--num-gpus={len(node.gpus)}",
        "--block",
    ]
    return process(
        f"worker-{node.rank}",
        node,
        # The shell makes room for the program, so that signals reach it.
        " ".join(["exec", start, *options]),
        part=Part.SUPPORTING,
        stage=1,
        gpus=GpuShare_All(),
        output=f"worker-{node.rank}",
    )


class Framework(exports.Framework):
    def describe(self) -> Descriptor:
        return Descriptor(
            name="ray",
            settings_member="pluginSettings",
            summary="Starts a Ray cluster on the job's nodes, and a driver that uses it",
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
        first = allocation.nodes[0]
        if not first.ports:
            raise Err(PlanFailure_Unsuitable("the first node has no port for the head"))
        start = settings["startCommand"]
        address = f"{first.address}:{first.ports[0]}"
        head = process(
            "head",
            first,
            f"exec {start} --head --node-ip-address={first.address} --port={first.ports[0]}"
            " --num-cpus=0 --num-gpus=0 --block",
            part=Part.SUPPORTING,
            stage=0,
            gpus=GpuShare_None_(),
            output="head",
        )
        workers = [worker(start, address, node, settings.get("cpusPerNode")) for node in allocation.nodes]
        driver = process(
            "driver",
            first,
            settings["driver"],
            part=Part.PRIMARY,
            stage=2,
            gpus=GpuShare_None_(),
            output=None,
        )
        return LaunchPlan(
            variables=[Variable("RAY_ADDRESS", address)],
            files=[],
            processes=[head, *workers, driver],
            finish=[],
        )
