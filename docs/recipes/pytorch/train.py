#!/usr/bin/env python3
"""Trains a small network on scikit-learn's handwritten digits with PyTorch and Gloo.

Lote says who takes part: MASTER_ADDR, MASTER_PORT, RANK and WORLD_SIZE.
"""

import argparse
import os
import sys

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--backend", default="gloo")
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--accuracy", type=float, default=0.95, help="fail below it")
arguments = parser.parse_args()

if arguments.backend == "mpi":
    import torch_mpi  # noqa: F401  (the backend that Debian's PyTorch is built without)

# One thread per process, or the processes of a small machine fight for its cores.
torch.set_num_threads(1)
torch.manual_seed(7)
dist.init_process_group(arguments.backend)
rank, size = dist.get_rank(), dist.get_world_size()

digits = load_digits()
order = torch.randperm(len(digits.target))
images = torch.tensor(digits.data / 16, dtype=torch.float32)[order]
labels = torch.tensor(digits.target)[order]
# A quarter is held back; of the rest every rank has its own share.
test_images, test_labels = images[:449], labels[:449]
images, labels = images[449 + rank :: size], labels[449 + rank :: size]
node = os.environ.get("AZ_BATCH_NODE_ID", "?")
print(f"rank {rank} of {size} on {node}: {len(labels)} images", flush=True)

network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
# It averages the gradients of all ranks after every step.
model = DistributedDataParallel(network)
optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
criterion = nn.CrossEntropyLoss()
# As many steps on every rank, or one waits for ever.
steps = 1348 // size // 32
for epoch in range(arguments.epochs):
    shuffled = torch.randperm(len(labels))
    for step in range(steps):
        rows = shuffled[step * 32 : (step + 1) * 32]
        optimizer.zero_grad()
        criterion(model(images[rows]), labels[rows]).backward()
        optimizer.step()

# All ranks have the same network, although each has seen other images.
own = torch.cat([weight.detach().flatten() for weight in network.parameters()])
first = own.clone()
dist.broadcast(first, 0)
assert torch.equal(own, first), "the ranks have different networks"

with torch.no_grad():
    accuracy = (network(test_images).argmax(1) == test_labels).float().mean().item()
if rank == 0:
    print(f"accuracy {accuracy:.4f} with {size} ranks", flush=True)
# Nobody leaves while another still talks to it.
dist.barrier()
dist.destroy_process_group()
sys.exit(accuracy < arguments.accuracy)
