#!/usr/bin/env python3
"""Trains a small network on scikit-learn's handwritten digits with TensorFlow's
MultiWorkerMirroredStrategy.

TF_CONFIG says who takes part.
"""

import argparse
import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
import numpy
import tensorflow as tf
from sklearn.datasets import load_digits

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=60)
parser.add_argument("--accuracy", type=float, default=0.95, help="fail below it")
arguments = parser.parse_args()

# One thread per process, or the processes of a small machine fight for its cores.
tf.config.threading.set_intra_op_parallelism_threads(1)
# Before anything else of TensorFlow: it waits here until all workers are there.
strategy = tf.distribute.MultiWorkerMirroredStrategy()
size = strategy.num_replicas_in_sync
config = json.loads(os.environ["TF_CONFIG"])
task = config["task"]
first = "chief" if "chief" in config["cluster"] else "worker"
chief = task == {"type": first, "index": 0}
node = os.environ.get("AZ_BATCH_NODE_ID", "?")

digits = load_digits()
order = numpy.random.RandomState(7).permutation(len(digits.target))
images = (digits.data[order] / 16).astype(numpy.float32)
labels = digits.target[order].astype(numpy.int64)
# A quarter is held back.
test_images, test_labels = images[:449], labels[:449]


def share(context):
    """This worker's part of the images, in batches of 32."""
    own = context.input_pipeline_id
    own_images, own_labels = images[449 + own :: size], labels[449 + own :: size]
    print(f"{task['type']} {task['index']} of {size} on {node}: {len(own_labels)} images", flush=True)
    data = tf.data.Dataset.from_tensor_slices((own_images, own_labels))
    # As many steps on every worker, or one waits for ever.
    return data.shuffle(2000, seed=7).batch(32, drop_remainder=True).take(1348 // size // 32)


data = strategy.distribute_datasets_from_function(share)
with strategy.scope():
    tf.random.set_seed(7)
    weights = [
        tf.Variable(tf.random.normal([64, 64], stddev=0.15)),
        tf.Variable(tf.zeros([64])),
        tf.Variable(tf.random.normal([64, 10], stddev=0.15)),
        tf.Variable(tf.zeros([10])),
    ]


def scores(batch):
    return tf.nn.relu(batch @ weights[0] + weights[1]) @ weights[2] + weights[3]


def replica_step(batch, target, rate):
    with tf.GradientTape() as tape:
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(target, scores(batch))
        loss = tf.reduce_mean(loss)
    gradients = tape.gradient(loss, weights)
    # Averages the gradients of all workers.
    context = tf.distribute.get_replica_context()
    gradients = context.all_reduce(tf.distribute.ReduceOp.MEAN, gradients)
    for weight, gradient in zip(weights, gradients):
        weight.assign_sub(rate * gradient)


@tf.function
def train(batches, rate):
    for batch, target in batches:
        strategy.run(replica_step, args=(batch, target, rate))


for epoch in range(arguments.epochs):
    # Smaller steps towards the end.
    train(data, tf.constant(0.5 * (1 - epoch / arguments.epochs)))

accuracy = float(numpy.mean(numpy.argmax(scores(test_images).numpy(), 1) == test_labels))
# All workers have the same network, although each has seen other images.
own = sum(float(tf.reduce_sum(tf.abs(weight))) for weight in weights)
print(f"{task['type']} {task['index']} has a network with weights of {own:.4f}", flush=True)
if chief:
    print(f"accuracy {accuracy:.4f} with {size} workers", flush=True)
sys.exit(accuracy < arguments.accuracy)
