#!/usr/bin/env python3
"""Trains a small network on scikit-learn's handwritten digits with Chainer and ChainerMN.

mpirun says who takes part.
"""

import argparse
import os
import sys

import chainer
import chainer.functions as F
import chainer.links as L
import chainermn
import numpy
from sklearn.datasets import load_digits

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=40)
parser.add_argument("--accuracy", type=float, default=0.95, help="fail below it")
arguments = parser.parse_args()

# The communicator for ranks without GPUs.
communicator = chainermn.create_communicator("naive")
rank, size = communicator.rank, communicator.size
numpy.random.seed(7 + rank)

dataset = None
if rank == 0:
    digits = load_digits()
    images = (digits.data / 16).astype(numpy.float32)
    dataset = chainer.datasets.TupleDataset(images, digits.target.astype(numpy.int32))
    # A quarter is held back.
    test, dataset = chainer.datasets.split_dataset_random(dataset, 449, seed=7)
else:
    test = None
# Rank 0 sends every rank its own share of the images, and all of them the test.
dataset = chainermn.scatter_dataset(dataset, communicator, shuffle=True, seed=7)
test = communicator.bcast_obj(test)
node = os.environ.get("AZ_BATCH_NODE_ID", "?")
print(f"rank {rank} of {size} on {node}: {len(dataset)} images", flush=True)

network = chainer.Sequential(L.Linear(64, 64), F.relu, L.Linear(64, 10))
model = L.Classifier(network)
# It averages the gradients of all ranks before every step.
optimizer = chainermn.create_multi_node_optimizer(chainer.optimizers.Adam(alpha=0.005), communicator)
optimizer.setup(model)
iterator = chainer.iterators.SerialIterator(dataset, 32)
updater = chainer.training.StandardUpdater(iterator, optimizer)
# As many steps on every rank, or one waits for ever.
steps = arguments.epochs * (1348 // size // 32)
while updater.iteration < steps:
    updater.update()

# All ranks have the same network, although each has seen other images.
own = numpy.concatenate([parameter.array.ravel() for _, parameter in sorted(model.namedparams())])
assert numpy.array_equal(own, communicator.bcast(own)), "the ranks have different networks"

test_images, test_labels = chainer.dataset.concat_examples(test)
with chainer.using_config("train", False), chainer.no_backprop_mode():
    accuracy = float(F.accuracy(network(test_images), test_labels).array)
if rank == 0:
    print("accuracy {:.4f} with {} ranks".format(accuracy, size), flush=True)
sys.exit(accuracy < arguments.accuracy)
