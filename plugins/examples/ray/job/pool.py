"""A pool of processes over TCP that is started like Ray: `pool.py start --head …` and
`pool.py start --address=…`. Workers take tasks from the head's queue until they are stopped.
"""

import argparse
import importlib
import multiprocessing
import os
import queue
import signal
import time
from multiprocessing.managers import BaseManager

# Only processes of the job can know its address.
KEY = os.environ.get("RAY_ADDRESS", "").encode()


class Manager(BaseManager):
    pass


def served(host, port):
    """A manager that owns the two queues."""
    tasks, results = queue.Queue(), queue.Queue()
    Manager.register("tasks", lambda: tasks)
    Manager.register("results", lambda: results)
    return Manager(address=(host, port), authkey=KEY)


def connected(address, patience=30):
    """A manager at the head; it may not be there yet, as stages do not wait for readiness."""
    host, port = address.rsplit(":", 1)
    Manager.register("tasks")
    Manager.register("results")
    multiprocessing.current_process().authkey = KEY
    manager = Manager(address=(host, int(port)), authkey=KEY)
    until = time.monotonic() + patience
    while True:
        try:
            manager.connect()
            return manager
        except ConnectionError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def work(address):
    manager = connected(address)
    tasks, results = manager.tasks(), manager.results()
    try:
        while True:
            number, module, function, argument = tasks.get()
            answer = getattr(importlib.import_module(module), function)(argument)
            results.put((number, answer, os.getpid()))
    except (EOFError, ConnectionError):
        pass  # The head has gone: the job is ending.


def map_over(address, module, function, arguments):
    """Answers of `module.function` to each argument, and the processes that worked."""
    manager = connected(address)
    tasks, results = manager.tasks(), manager.results()
    for number, argument in enumerate(arguments):
        tasks.put((number, module, function, argument))
    found = [results.get() for _ in arguments]
    return [answer for _, answer, _ in sorted(found)], {pid for _, _, pid in found}


def main():
    parser = argparse.ArgumentParser()
    start = parser.add_subparsers(required=True).add_parser("start")
    role = start.add_mutually_exclusive_group(required=True)
    role.add_argument("--head", action="store_true")
    role.add_argument("--address")
    start.add_argument("--node-ip-address", required=True)
    start.add_argument("--port", type=int)
    start.add_argument("--num-cpus", type=int, required=True)
    start.add_argument("--num-gpus", type=int, required=True)
    start.add_argument("--block", action="store_true", required=True)
    options = parser.parse_args()
    if options.head:
        served(options.node_ip_address, options.port).get_server().serve_forever()
        return
    workers = [multiprocessing.Process(target=work, args=(options.address,)) for _ in range(options.num_cpus)]
    for worker in workers:
        worker.start()
    signal.signal(signal.SIGTERM, lambda *_: [worker.terminate() for worker in workers])
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
