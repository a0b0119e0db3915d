#!/usr/bin/env python3
"""Trains a linear classifier on scikit-learn's handwritten digits with mpi4py.

mpirun says who takes part.
"""

import argparse
import os
import sys

import numpy
from mpi4py import MPI
from sklearn.datasets import load_digits

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=1500)
parser.add_argument("--accuracy", type=float, default=0.95, help="fail below it")
arguments = parser.parse_args()

world = MPI.COMM_WORLD
rank, size = world.rank, world.size
version = MPI.Get_library_version().splitlines()[0].split(",")[0]

digits = load_digits()
images = numpy.hstack([digits.data / 16, numpy.ones((len(digits.target), 1))])
labels = numpy.eye(10)[digits.target]
# Every fourth image is held back; of the rest every rank has its own share.
held_back = numpy.arange(len(images)) % 4 == 3
test_images, test_labels = images[held_back], labels[held_back]
total = int((~held_back).sum())
images, labels = images[~held_back][rank::size], labels[~held_back][rank::size]
node = os.environ.get("AZ_BATCH_NODE_ID", "?")
print(f"rank {rank} of {size} on {node}: {len(images)} images, {version}", flush=True)

weights = numpy.zeros((images.shape[1], 10))
gradient = numpy.empty_like(weights)
for step in range(arguments.steps):
    scores = numpy.exp(images @ weights - (images @ weights).max(axis=1, keepdims=True))
    guess = scores / scores.sum(axis=1, keepdims=True)
    # The sum over the images of all ranks.
    world.Allreduce(images.T @ (guess - labels), gradient)
    weights -= 0.5 * gradient / total

accuracy = float(((test_images @ weights).argmax(1) == test_labels.argmax(1)).mean())
if rank == 0:
    print(f"accuracy {accuracy:.4f} with {size} ranks", flush=True)
sys.exit(accuracy < arguments.accuracy)
