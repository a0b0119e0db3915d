#!/usr/bin/env python3
"""Trains a small network on scikit-learn's handwritten digits, on every process
of a job at once.

The job's environment names the rendezvous (MASTER_ADDR, MASTER_PORT, RANK,
WORLD_SIZE) and the output directory (AZ_BATCHAI_OUTPUT_MODEL). The first
process writes checkpoint.pt and metrics.json there.
"""

import argparse
import json
import os
import time

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

SEED = 7


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=16, help="per process")
    parser.add_argument("--learning-rate", type=float, default=0.01)
    return parser.parse_args()


def load_data():
    """The images as values from 0 to 1; a quarter of them is held back for the test."""
    digits = load_digits()
    images = torch.tensor(digits.data / 16.0, dtype=torch.float32)
    labels = torch.tensor(digits.target, dtype=torch.long)
    # The same split in every process: all of them use the same seed.
    rows = train_test_split(range(len(labels)), test_size=0.25, random_state=SEED, stratify=labels)
    return [TensorDataset(images[part], labels[part]) for part in rows]


def build_network():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def train_epoch(network, optimizer, loader):
    """One pass over this process's share; returns the mean loss over all processes."""
    criterion = nn.CrossEntropyLoss()
    total, count = 0.0, 0
    network.train()
    for images, labels in loader:
        optimizer.zero_grad()
        loss = criterion(network(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
        count += len(labels)
    sums = torch.tensor([total, float(count)])
    dist.all_reduce(sums)
    return (sums[0] / sums[1]).item()


def measure_accuracy(network, dataset):
    network.eval()
    with torch.no_grad():
        images, labels = dataset.tensors
        return (network(images).argmax(dim=1) == labels).float().mean().item()


def save(directory, network, metrics):
    torch.save(network.state_dict(), os.path.join(directory, "checkpoint.pt"))
    with open(os.path.join(directory, "metrics.json"), "w") as file:
        json.dump(metrics, file, indent=2)
        file.write("\n")


def main():
    arguments = parse_arguments()
    # One thread per process, or the processes of a small machine fight for its cores.
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    dist.init_process_group("gloo", init_method="env://")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    print(f"rank {rank} of {world_size} is ready", flush=True)

    training, test = load_data()
    sampler = DistributedSampler(training, seed=SEED)
    loader = DataLoader(training, batch_size=arguments.batch_size, sampler=sampler)
    network = DistributedDataParallel(build_network())
    optimizer = torch.optim.Adam(network.parameters(), lr=arguments.learning_rate)

    started = time.monotonic()
    history = []
    for epoch in range(1, arguments.epochs + 1):
        sampler.set_epoch(epoch)
        loss = train_epoch(network, optimizer, loader)
        accuracy = measure_accuracy(network.module, test)
        history.append({"epoch": epoch, "loss": loss, "accuracy": accuracy})
        if rank == 0:
            print(f"epoch {epoch}/{arguments.epochs} loss {loss:.4f} accuracy {accuracy:.4f}", flush=True)

    if rank == 0:
        metrics = {
            "accuracy": history[-1]["accuracy"],
            "processes": world_size,
            "training_seconds": time.monotonic() - started,
            "history": history,
        }
        save(os.environ["AZ_BATCHAI_OUTPUT_MODEL"], network.module, metrics)
        print(f"accuracy {metrics['accuracy']:.4f}", flush=True)
    # Nobody leaves while another process still talks to it.
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
