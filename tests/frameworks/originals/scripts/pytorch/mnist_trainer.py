"""In the place of the recipe's script of this name: the same arguments, the digits of scikit-learn."""

import argparse
import os
import sys

import torch
import torch.distributed as dist
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

parser = argparse.ArgumentParser(description="PyTorch MNIST Example")
parser.add_argument("--batch-size", type=int, default=16)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--lr", type=float, default=0.005)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--world-size", default=1, type=int)
parser.add_argument("--dist-url", type=str)
parser.add_argument("--dist-backend", default="nccl", type=str)
parser.add_argument("--rank", default=-1, type=int)
args = parser.parse_args()

assert args.dist_backend == os.environ["AZ_BATCHAI_PYTORCH_BACKEND"] == "gloo", args.dist_backend
assert args.dist_url == os.environ["AZ_BATCHAI_PYTORCH_INIT_METHOD"], args.dist_url
assert args.rank == int(os.environ["AZ_BATCHAI_TASK_INDEX"]), args.rank

torch.manual_seed(args.seed)
torch.set_num_threads(1)
dist.init_process_group(
    backend=args.dist_backend, init_method=args.dist_url, world_size=args.world_size, rank=args.rank
)
node = os.environ["AZ_BATCH_NODE_ID"]
print(f"rank {args.rank} of {dist.get_world_size()} on {node} by {args.dist_url}", flush=True)

digits = load_digits()
order = torch.randperm(len(digits.target))
images = torch.tensor(digits.data / 16, dtype=torch.float32)[order]
labels = torch.tensor(digits.target)[order]
train = TensorDataset(images[449:], labels[449:])
sampler = DistributedSampler(train)
loader = DataLoader(train, batch_size=args.batch_size, sampler=sampler)
network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
model = DistributedDataParallel(network)
optimizer = optim.Adam(model.parameters(), lr=args.lr)
for epoch in range(args.epochs):
    sampler.set_epoch(epoch)
    for data, target in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(data), target)
        loss.backward()
        optimizer.step()
    if args.rank == 0:
        print(f"Train Epoch: {epoch} Loss: {loss.item():.6f}", flush=True)

accuracy = (network(images[:449]).argmax(1) == labels[:449]).float().mean().item()
if args.rank == 0:
    print(f"accuracy {accuracy:.4f}", flush=True)
dist.barrier()
sys.exit(accuracy < 0.93)
