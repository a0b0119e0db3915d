#!/usr/bin/env python3
"""Checks Lote on a machine with real NVIDIA GPUs: `tests/gpu/check.py PATH-TO-LOTE`.

Needs root, the built binary, nvidia-smi and, for the jobs that compute, a Python with PyTorch
(LOTE_GPU_PYTHON, else python3). Each check says what it saw; one that cannot run says why. The
exit code is 1 if a check failed.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import xml.etree.ElementTree as ElementTree

PORT = 18471
URL = f"http://127.0.0.1:{PORT}"
PATIENCE_SECONDS = 60
PYTHON = os.environ.get("LOTE_GPU_PYTHON", shutil.which("python3") or "python3")

COMPUTE = """
import os, torch
print("visible", os.environ.get("CUDA_VISIBLE_DEVICES"))
print("count", torch.cuda.device_count())
print("name", torch.cuda.get_device_name(0))
x = torch.randn(2048, 2048, device="cuda")
print("product", bool(torch.isfinite(x @ x).all()))
"""

COUNT = """
import os, torch
print("visible", os.environ.get("CUDA_VISIBLE_DEVICES"))
print("count", torch.cuda.device_count())
"""

OPEN = """
for number in range(64):
    path = "/dev/nvidia%d" % number
    try:
        open(path, "rb").close()
        print("opened", path)
    except FileNotFoundError:
        pass
    except OSError as error:
        print("refused", path, error.errno)
"""


class Skipped(Exception):
    """A check that cannot run here."""


def get(path):
    with urllib.request.urlopen(URL + path, timeout=10) as answer:
        return json.load(answer)


def wait_for(what, condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited in vain for {what}")


def smi():
    """What nvidia-smi knows of each GPU, by uuid."""
    if not shutil.which("nvidia-smi"):
        raise Skipped("nvidia-smi is not installed")
    text = subprocess.run(["nvidia-smi", "-q", "-x"], capture_output=True, check=True).stdout
    gpus = {}
    for gpu in ElementTree.fromstring(text).iter("gpu"):
        memory = gpu.findtext("fb_memory_usage/total").split()[0]
        gpus[gpu.findtext("uuid")] = {
            "model": gpu.findtext("product_name"),
            "minor": int(gpu.findtext("minor_number")),
            "memoryMib": int(memory),
        }
    return gpus


def run(lote, options, script):
    """The lines that a job printed; its error if it failed."""
    command = [lote, "run", *options, "--", PYTHON, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS * 3)
    assert done.returncode == 0, f"{' '.join(options)}: {done.stdout}{done.stderr}"
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def needs_torch():
    probe = subprocess.run([PYTHON, "-c", "import torch"], capture_output=True, text=True)
    if probe.returncode != 0:
        raise Skipped(f"{PYTHON} has no PyTorch")


def inventory(lote):
    node = get("/v1/nodes")["value"][0]["properties"]
    seen = {gpu["uuid"]: gpu for gpu in node["gpus"]}
    expected = smi()
    assert seen.keys() == expected.keys(), f"{seen.keys()} != {expected.keys()}"
    for uuid, gpu in expected.items():
        for member, value in gpu.items():
            assert seen[uuid][member] == value, f"{uuid} {member}: {seen[uuid][member]} != {value}"
    return f"{len(seen)} GPUs as nvidia-smi tells them; size {node['vmSize']}"


def computes(lote):
    needs_torch()
    told = run(lote, ["--gpus", "1"], COMPUTE)
    assert told["count"] == "1", told
    assert told["product"] == "True", told
    assert told["visible"] in smi(), told
    return f"{told['name']} by its UUID, {told['visible']}"


def sees_none(lote):
    needs_torch()
    told = run(lote, ["--cpus", "1"], COUNT)
    assert told["count"] == "0", told
    return "a job without GPUs finds none"


def opens_none(lote):
    means = get("/v1/nodes")["value"][0]["properties"]["isolation"]
    devices = next(means for means in means if means["name"] == "devices")
    command = [lote, "run", "--cpus", "1", "--", PYTHON, "-c", OPEN]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr
    opened = [line for line in done.stdout.splitlines() if line.startswith("opened")]
    if opened and not devices["inForce"]:
        raise Skipped(f"the node says '{devices['note']}', and so it was: {opened}")
    assert not opened, f"a job without GPUs opened their device files: {opened}"
    return "a job without GPUs cannot open their device files: " + (done.stdout.strip() or "none shown")


def delegate():
    """A control group of the daemon's own, as systemd gives it with Delegate=yes."""
    root = "/sys/fs/cgroup"
    if not os.path.exists(f"{root}/cgroup.controllers"):
        return None
    with open(f"{root}/cgroup.controllers", encoding="ascii") as controllers:
        wanted = " ".join(f"+{name}" for name in controllers.read().split())
    with open(f"{root}/cgroup.subtree_control", "w", encoding="ascii") as control:
        control.write(wanted)
    group = f"{root}/lote-gpu-check"
    os.makedirs(group, exist_ok=True)
    return group


def enter(group):
    with open(f"{group}/cgroup.procs", "w", encoding="ascii") as members:
        members.write(str(os.getpid()))


CHECKS = [inventory, computes, sees_none, opens_none]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    lote = os.path.abspath(sys.argv[1])
    os.environ["LOTE_URL"] = URL
    failed = False
    group = delegate()
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="lote-gpu-") as folder:
        os.chmod(folder, 0o711)
        log_path = os.path.join(folder, "log")
        with open(log_path, "wb") as log:
            listen = f"127.0.0.1:{PORT}"
            daemon = subprocess.Popen(
                [lote, "node", "--data-dir", os.path.join(folder, "data"), "--listen", listen],
                stderr=log,
                preexec_fn=(lambda: enter(group)) if group else None,
            )
        try:

            def is_ready():
                assert daemon.poll() is None, "the daemon ended"
                try:
                    return get("/readyz")
                except OSError:
                    return None

            wait_for("the daemon", is_ready)
            for check in CHECKS:
                try:
                    print(f"passed   {check.__name__}: {check(lote)}", flush=True)
                except Skipped as reason:
                    print(f"skipped  {check.__name__}: {reason}", flush=True)
                except Exception as error:
                    failed = True
                    print(f"FAILED   {check.__name__}: {error}", flush=True)
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(30)
            with open(log_path, encoding="utf-8", errors="replace") as log:
                print(log.read(), file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
