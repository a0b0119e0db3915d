#!/usr/bin/env python3
"""Trains a small network on scikit-learn's handwritten digits with CNTK.

mpirun says who takes part.
"""

import argparse
import os
import sys

import cntk as C
import numpy
from cntk.train.distributed import Communicator
from sklearn.datasets import load_digits

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=60)
parser.add_argument("--accuracy", type=float, default=0.95, help="fail below it")
arguments = parser.parse_args()

C.try_set_default_device(C.cpu())
C.cntk_py.set_fixed_random_seed(7)
rank, size = Communicator.rank(), Communicator.num_workers()

digits = load_digits()
order = numpy.random.RandomState(7).permutation(len(digits.target))
images = (digits.data[order] / 16).astype(numpy.float32)
labels = numpy.eye(10, dtype=numpy.float32)[digits.target[order]]
# A quarter is held back; of the rest every rank has its own share.
test_images, test_labels = images[:449], labels[:449]
images, labels = images[449 + rank :: size], labels[449 + rank :: size]
node = os.environ.get("AZ_BATCH_NODE_ID", "?")
print("rank {} of {} on {}: {} images".format(rank, size, node, len(labels)), flush=True)

features, target = C.input_variable(64), C.input_variable(10)
network = C.layers.Sequential([C.layers.Dense(64, activation=C.relu), C.layers.Dense(10)])(features)
loss = C.cross_entropy_with_softmax(network, target)
error = C.classification_error(network, target)
local = C.adam(
    network.parameters,
    lr=C.learning_parameter_schedule(0.05, minibatch_size=32),
    momentum=C.momentum_schedule(0.9),
    minibatch_size=32,
)
# It adds up the gradients of all ranks before every step.
learner = C.train.distributed.data_parallel_distributed_learner(local)
trainer = C.Trainer(network, (loss, error), [learner])
# As many steps on every rank, or one waits for ever.
steps = 1348 // size // 32
for epoch in range(arguments.epochs):
    shuffled = numpy.random.RandomState(epoch).permutation(len(labels))
    for step in range(steps):
        rows = shuffled[step * 32 : (step + 1) * 32]
        trainer.train_minibatch({features: images[rows], target: labels[rows]})

accuracy = 1 - trainer.test_minibatch({features: test_images, target: test_labels})
# All ranks have the same network, although each has seen other images.
own = sum(float(numpy.abs(parameter.value).sum()) for parameter in network.parameters)
print("rank {} has a network with weights of {:.6f}".format(rank, own), flush=True)
if rank == 0:
    print("accuracy {:.4f} with {} ranks".format(accuracy, size), flush=True)
Communicator.finalize()
sys.exit(accuracy < arguments.accuracy)
