#!/usr/bin/env python3
"""Trains a small network on scikit-learn's handwritten digits with TensorFlow 1.8.

The weights are on the parameter servers; each worker brings gradients of its own share of the
images, as often as it can.
"""

import argparse
import os
import sys

import numpy
import tensorflow as tf
from sklearn.datasets import load_digits

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--job_name", choices=["ps", "worker"], required=True)
parser.add_argument("--task_index", type=int, required=True)
parser.add_argument("--ps_hosts", required=True)
parser.add_argument("--worker_hosts", required=True)
parser.add_argument("--train_steps", type=int, default=2000, help="of all workers together")
parser.add_argument("--accuracy", type=float, default=0.95, help="fail below it")
arguments = parser.parse_args()

workers = arguments.worker_hosts.split(",")
cluster = tf.train.ClusterSpec({"ps": arguments.ps_hosts.split(","), "worker": workers})
task, size = arguments.task_index, len(workers)
node = os.environ.get("AZ_BATCH_NODE_ID", "?")
one_thread = tf.ConfigProto(inter_op_parallelism_threads=2, intra_op_parallelism_threads=1)
server = tf.train.Server(cluster, arguments.job_name, task, config=one_thread)
if arguments.job_name == "ps":
    print("parameter server {} on {}".format(task, node), flush=True)
    # For ever: Lote ends it when the workers are done.
    server.join()

digits = load_digits()
order = numpy.random.RandomState(7).permutation(len(digits.target))
images = (digits.data[order] / 16).astype(numpy.float32)
labels = digits.target[order]
# A quarter is held back; of the rest every worker has its own share.
test_images, test_labels = images[:449], labels[:449]
images, labels = images[449 + task :: size], labels[449 + task :: size]
print("worker {} of {} on {}: {} images".format(task, size, node, len(labels)), flush=True)

with tf.device(tf.train.replica_device_setter(cluster=cluster)):
    step = tf.train.get_or_create_global_step()
    features = tf.placeholder(tf.float32, [None, 64])
    target = tf.placeholder(tf.int64, [None])
    hidden = tf.layers.dense(features, 64, activation=tf.nn.relu)
    scores = tf.layers.dense(hidden, 10)
    loss = tf.losses.sparse_softmax_cross_entropy(target, scores)
    train = tf.train.AdamOptimizer(0.005).minimize(loss, global_step=step)
    right = tf.equal(tf.argmax(scores, 1), target)
    measure = tf.reduce_mean(tf.cast(right, tf.float32))
tf.set_random_seed(7)

own_steps, now = 0, 0
picked = numpy.random.RandomState(task)
with tf.train.MonitoredTrainingSession(server.target, is_chief=task == 0) as session:
    while now < arguments.train_steps:
        rows = picked.choice(len(labels), 32, replace=False)
        batch = {features: images[rows], target: labels[rows]}
        _, now = session.run([train, step], feed_dict=batch)
        own_steps += 1
    accuracy = session.run(measure, feed_dict={features: test_images, target: test_labels})
print("worker {} made {} of {} steps".format(task, own_steps, now), flush=True)
print("accuracy {:.4f} with {} workers".format(accuracy, size), flush=True)
sys.exit(int(accuracy < arguments.accuracy))
