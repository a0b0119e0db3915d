#!/usr/bin/env python3
"""Trains a small network on scikit-learn's handwritten digits with Horovod and PyTorch.

mpirun says who takes part.
"""

import argparse
import os
import sys

import horovod.torch as hvd
import torch
from sklearn.datasets import load_digits
from torch import nn

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--accuracy", type=float, default=0.95, help="fail below it")
arguments = parser.parse_args()

hvd.init()
rank, size = hvd.rank(), hvd.size()
# One thread per process, or the processes of a small machine fight for its cores.
torch.set_num_threads(1)
torch.manual_seed(7)

digits = load_digits()
order = torch.randperm(len(digits.target))
images = torch.tensor(digits.data / 16, dtype=torch.float32)[order]
labels = torch.tensor(digits.target)[order]
# A quarter is held back; of the rest every rank has its own share.
test_images, test_labels = images[:449], labels[:449]
images, labels = images[449 + rank :: size], labels[449 + rank :: size]
node = os.environ.get("AZ_BATCH_NODE_ID", "?")
print(f"rank {rank} of {size} on {node}: {len(labels)} images", flush=True)

# Every rank begins with another network, and gets that of rank 0.
torch.manual_seed(rank)
network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
hvd.broadcast_parameters(network.state_dict(), root_rank=0)
# It averages the gradients of all ranks before every step.
optimizer = hvd.DistributedOptimizer(
    torch.optim.Adam(network.parameters(), lr=0.005),
    named_parameters=network.named_parameters(),
)
criterion = nn.CrossEntropyLoss()
# As many steps on every rank, or one waits for ever.
steps = 1348 // size // 32
for epoch in range(arguments.epochs):
    shuffled = torch.randperm(len(labels))
    for step in range(steps):
        rows = shuffled[step * 32 : (step + 1) * 32]
        optimizer.zero_grad()
        criterion(network(images[rows]), labels[rows]).backward()
        optimizer.step()

# All ranks have the same network, although each has seen other images.
own = torch.cat([weight.detach().flatten() for weight in network.parameters()])
assert torch.equal(own, hvd.broadcast(own, root_rank=0)), "the ranks have different networks"

with torch.no_grad():
    accuracy = (network(test_images).argmax(1) == test_labels).float().mean().item()
if rank == 0:
    print(f"accuracy {accuracy:.4f} with {size} ranks", flush=True)
hvd.shutdown()
sys.exit(accuracy < arguments.accuracy)
