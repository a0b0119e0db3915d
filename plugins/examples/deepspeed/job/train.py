"""Fits y = 3x + 1 by gradient descent over all ranks: each has a share of the batch, and
rank 0 averages their gradients over TCP.
"""

import argparse
import json
import os
import random
import socket
import struct
import time

STEPS = 200
PAIR = struct.Struct("!dd")


def received(connection):
    data = b""
    while len(data) < PAIR.size:
        part = connection.recv(PAIR.size - len(data))
        if not part:
            raise ConnectionError("a rank has gone")
        data += part
    return PAIR.unpack(data)


def connect(address, patience=30):
    """Rank 0 may not listen yet."""
    until = time.monotonic() + patience
    while True:
        try:
            return socket.create_connection(address)
        except ConnectionError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


class Ranks:
    def __init__(self, rank, size, address):
        self.size = size
        if rank == 0:
            with socket.create_server(address) as server:
                self.connections = [server.accept()[0] for _ in range(size - 1)]
            self.root = None
        else:
            self.root = connect(address)

    def mean(self, gradient):
        """The mean of all ranks' gradients, the same on every rank."""
        if self.root:
            self.root.sendall(PAIR.pack(*gradient))
            return received(self.root)
        all_of_them = [gradient] + [received(connection) for connection in self.connections]
        mean = tuple(sum(part) / self.size for part in zip(*all_of_them))
        for connection in self.connections:
            connection.sendall(PAIR.pack(*mean))
        return mean


def gradient_of(slope, offset, points):
    errors = [(slope * x + offset - y, x) for x, y in points]
    return sum(e * x for e, x in errors) / len(errors), sum(e for e, _ in errors) / len(errors)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--deepspeed", action="store_true", required=True)
    parser.add_argument("--deepspeed_config", required=True)
    with open(parser.parse_args().deepspeed_config) as file:
        config = json.load(file)
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    rate = config["optimizer"]["params"]["lr"]
    share = config["train_batch_size"] // size
    ranks = Ranks(rank, size, (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])))
    random.seed(rank)
    slope = offset = 0.0
    for _ in range(STEPS):
        points = [(x, 3 * x + 1) for x in (random.uniform(-1, 1) for _ in range(share))]
        change = ranks.mean(gradient_of(slope, offset, points))
        slope, offset = slope - rate * change[0], offset - rate * change[1]
    assert abs(slope - 3) < 0.01 and abs(offset - 1) < 0.01, (slope, offset)
    print(f"rank {rank} of {size}: y = {slope:.2f}x + {offset:.2f}")


if __name__ == "__main__":
    main()
