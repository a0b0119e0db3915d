"""In the place of Horovod's example of this name: the same arguments, the digits of scikit-learn."""

import argparse
import os
import sys

import horovod.torch as hvd
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

parser = argparse.ArgumentParser(description="PyTorch MNIST Example")
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--epochs", type=int, default=90)
parser.add_argument("--lr", type=float, default=0.05)
parser.add_argument("--momentum", type=float, default=0.5)
parser.add_argument("--no-cuda", action="store_true", default=False)
parser.add_argument("--seed", type=int, default=42)
args = parser.parse_args()

model_dir = os.environ["AZ_BATCHAI_OUTPUT_MODEL"]
# On no mount: the recipe's prefix is not what it mounts.
assert model_dir.startswith(os.environ["AZ_BATCHAI_MOUNT_ROOT"] + "/external/"), model_dir
assert model_dir.endswith("/Models"), model_dir

hvd.init()
torch.manual_seed(args.seed)
torch.set_num_threads(1)
node = os.environ["AZ_BATCH_NODE_ID"]
print(f"rank {hvd.rank()} of {hvd.size()} on {node}", flush=True)

digits = load_digits()
order = torch.randperm(len(digits.target))
images = torch.tensor(digits.data / 16, dtype=torch.float32)[order]
labels = torch.tensor(digits.target)[order]
train = TensorDataset(images[449:], labels[449:])
sampler = DistributedSampler(train, num_replicas=hvd.size(), rank=hvd.rank())
loader = DataLoader(train, batch_size=args.batch_size, sampler=sampler)

model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10), nn.LogSoftmax(dim=1))
hvd.broadcast_parameters(model.state_dict(), root_rank=0)
optimizer = optim.SGD(model.parameters(), lr=args.lr * hvd.size(), momentum=args.momentum)
optimizer = hvd.DistributedOptimizer(optimizer, named_parameters=model.named_parameters())
for epoch in range(args.epochs):
    sampler.set_epoch(epoch)
    for data, target in loader:
        optimizer.zero_grad()
        F.nll_loss(model(data), target).backward()
        optimizer.step()

right = (model(images[:449]).argmax(1) == labels[:449]).float().mean()
accuracy = hvd.allreduce(right, name="accuracy").item()
if hvd.rank() == 0:
    torch.save(model.state_dict(), os.path.join(model_dir, "model.pt"))
    print(f"Test set: accuracy {accuracy:.4f}", flush=True)
    print(f"accuracy {accuracy:.4f}", flush=True)
sys.exit(accuracy < 0.95)
