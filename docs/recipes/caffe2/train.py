#!/usr/bin/env python3
"""Trains a small network on scikit-learn's handwritten digits with Caffe2.

The shards find each other through files in a directory that they share, and then exchange
gradients with Gloo.
"""

import argparse
import fcntl
import os
import socket
import struct
import sys

import numpy
from caffe2.python import brew, core, data_parallel_model, model_helper, optimizer, workspace
from sklearn.datasets import load_digits

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--file_store_path", required=True)
parser.add_argument("--num_shards", type=int, required=True)
parser.add_argument("--shard_id", type=int, required=True)
parser.add_argument("--epochs", type=int, default=40)
parser.add_argument("--accuracy", type=float, default=0.95, help="fail below it")
arguments = parser.parse_args()
shard, shards = arguments.shard_id, arguments.num_shards


def interface():
    """The network interface with an address of the job's nodes; Gloo would take the host name's."""
    addresses = os.environ.get("AZ_BATCH_HOST_LIST", "127.0.0.1").split(",")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            try:
                # SIOCGIFADDR
                answer = fcntl.ioctl(asked, 0x8915, struct.pack("256s", name.encode()))
            except OSError:
                continue
            if socket.inet_ntoa(answer[20:24]) in addresses:
                return name
    sys.exit("none of {} is an address of this machine".format(addresses))


digits = load_digits()
order = numpy.random.RandomState(7).permutation(len(digits.target))
images = (digits.data[order] / 16).astype(numpy.float32)
labels = digits.target[order].astype(numpy.int32)
# A quarter is held back; of the rest every shard has its own part.
test_images, test_labels = images[:449], labels[:449]
images, labels = images[449 + shard :: shards], labels[449 + shard :: shards]
node = os.environ.get("AZ_BATCH_NODE_ID", "?")
print("shard {} of {} on {}: {} images".format(shard, shards, node, len(labels)), flush=True)

workspace.RunOperatorOnce(
    core.CreateOperator(
        "FileStoreHandlerCreate", [], ["store"], path=arguments.file_store_path, prefix="digits"
    )
)
rendezvous = {
    "kv_handler": "store",
    "num_shards": shards,
    "shard_id": shard,
    "engine": "GLOO",
    "transport": "tcp",
    "interface": interface(),
    "exit_nets": None,
}


def add_input(model):
    # Both are fed from here before every step.
    pass


def add_network(model, loss_scale):
    hidden = brew.fc(model, "data", "hidden", 64, 64)
    hidden = brew.relu(model, hidden, hidden)
    scores = brew.fc(model, hidden, "scores", 64, 10)
    softmax, loss = model.SoftmaxWithLoss([scores, "label"], ["softmax", "loss"])
    # So that what the shards add up is the mean.
    return [model.Scale(loss, "scaled_loss", scale=loss_scale)]


def add_optimizer(model):
    return optimizer.build_adam(model, base_learning_rate=0.005)


def feed(batch_images, batch_labels):
    workspace.FeedBlob("cpu_0/data", batch_images)
    workspace.FeedBlob("cpu_0/label", batch_labels)


model = model_helper.ModelHelper("digits")
feed(images[:32], labels[:32])
data_parallel_model.Parallelize_CPU(
    model,
    input_builder_fun=add_input,
    forward_pass_builder_fun=add_network,
    optimizer_builder_fun=add_optimizer,
    devices=[0],
    rendezvous=rendezvous,
)
workspace.RunNetOnce(model.param_init_net)
workspace.CreateNet(model.net)
# As many steps on every shard, or one waits for ever.
steps = 1348 // shards // 32
for epoch in range(arguments.epochs):
    shuffled = numpy.random.RandomState(epoch).permutation(len(labels))
    for step in range(steps):
        rows = shuffled[step * 32 : (step + 1) * 32]
        feed(images[rows], labels[rows])
        workspace.RunNet(model.net)

weights = {name: workspace.FetchBlob("cpu_0/" + name) for name in ("hidden_w", "hidden_b", "scores_w", "scores_b")}
hidden = numpy.maximum(test_images.dot(weights["hidden_w"].T) + weights["hidden_b"], 0)
scores = hidden.dot(weights["scores_w"].T) + weights["scores_b"]
accuracy = float((scores.argmax(1) == test_labels).mean())
# All shards have the same network, although each has seen other images.
own = sum(float(numpy.abs(weight).sum()) for weight in weights.values())
print("shard {} has a network with weights of {:.6f}".format(shard, own), flush=True)
if shard == 0:
    print("accuracy {:.4f} with {} shards".format(accuracy, shards), flush=True)
sys.exit(accuracy < arguments.accuracy)
