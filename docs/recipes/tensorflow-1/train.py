#!/usr/bin/env python3
"""Trains a small network on scikit-learn's handwritten digits with TensorFlow 1.8.

The weights are on the parameter servers; each worker brings gradients of its own share of the
images, without waiting for the others.
"""

import argparse
import os
import sys
import time

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
# No worker needs another one: one may be done before the next begins.
one_thread.device_filters.extend(["/job:ps", "/job:worker/task:{}".format(task)])
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
    # Each worker says by itself that it is done. The common count of steps cannot tell: workers add
    # to it without a lock, and of two additions at the same time one may get lost.
    is_done = [tf.Variable(False, trainable=False, name="done_{}".format(i)) for i in range(size)]
    done = tf.assign(is_done[task], True)
tf.set_random_seed(7)

# The first worker makes the weights; the others look every second whether they are there.
supervisor = tf.train.Supervisor(
    is_chief=task == 0, global_step=step, summary_op=None, recovery_wait_secs=1
)
picked = numpy.random.RandomState(task)
own_steps = arguments.train_steps // size
session = supervisor.prepare_or_wait_for_session(server.target, config=one_thread)
for _ in range(own_steps):
    rows = picked.choice(len(labels), 32, replace=False)
    session.run(train, feed_dict={features: images[rows], target: labels[rows]})
session.run(done)
while not all(session.run(is_done)):
    time.sleep(0.2)
accuracy = session.run(measure, feed_dict={features: test_images, target: test_labels})
print("worker {} made {} of {} steps".format(task, own_steps, own_steps * size), flush=True)
print("accuracy {:.4f} with {} workers".format(accuracy, size), flush=True)
sys.exit(int(accuracy < arguments.accuracy))
