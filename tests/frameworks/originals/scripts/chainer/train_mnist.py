"""In the place of ChainerMN's example of this name: the same arguments, the digits of scikit-learn."""

import argparse
import os
import sys

import chainer
import chainer.functions as F
import chainer.links as L
import chainermn
import numpy
from chainer import training
from chainer.training import extensions
from sklearn.datasets import load_digits

parser = argparse.ArgumentParser(description="ChainerMN example: MNIST")
parser.add_argument("--batchsize", "-b", type=int, default=32)
parser.add_argument("--communicator", default="hierarchical")
parser.add_argument("--epoch", "-e", type=int, default=40)
parser.add_argument("--gpu", "-g", action="store_true")
parser.add_argument("--out", "-o", default="result")
parser.add_argument("--resume", "-r", default="")
parser.add_argument("--unit", "-u", type=int, default=64)
args = parser.parse_args()

assert args.gpu, "the recipe asks for GPUs"
assert args.out == os.environ["AZ_BATCHAI_OUTPUT_MODEL"], args.out
assert args.out.startswith(os.environ["AZ_BATCHAI_JOB_MOUNT_ROOT"] + "/logs/"), args.out

# What the original does without GPUs.
comm = chainermn.create_communicator("naive")
numpy.random.seed(comm.rank)
node = os.environ["AZ_BATCH_NODE_ID"]
print("rank {} of {} on {}".format(comm.rank, comm.size, node), flush=True)
if comm.rank == 0:
    print("Num process (COMM_WORLD): {}".format(comm.size), flush=True)

model = L.Classifier(chainer.Sequential(L.Linear(64, args.unit), F.relu, L.Linear(args.unit, 10)))
optimizer = chainermn.create_multi_node_optimizer(chainer.optimizers.Adam(alpha=0.005), comm)
optimizer.setup(model)
train = test = None
if comm.rank == 0:
    digits = load_digits()
    images = (digits.data / 16).astype(numpy.float32)
    whole = chainer.datasets.TupleDataset(images, digits.target.astype(numpy.int32))
    test, train = chainer.datasets.split_dataset_random(whole, 449, seed=7)
train = chainermn.scatter_dataset(train, comm, shuffle=True, seed=7)
test = chainermn.scatter_dataset(test, comm, shuffle=True, seed=7)

train_iter = chainer.iterators.SerialIterator(train, args.batchsize)
test_iter = chainer.iterators.SerialIterator(test, args.batchsize, repeat=False, shuffle=False)
updater = training.StandardUpdater(train_iter, optimizer)
trainer = training.Trainer(updater, (args.epoch, "epoch"), out=args.out)
evaluator = chainermn.create_multi_node_evaluator(extensions.Evaluator(test_iter, model), comm)
trainer.extend(evaluator)
if comm.rank == 0:
    trainer.extend(extensions.LogReport(trigger=(10, "epoch")))
    trainer.extend(extensions.PrintReport(["epoch", "main/loss", "validation/main/accuracy"]))
trainer.run()
accuracy = evaluator()["validation/main/accuracy"]
if comm.rank == 0:
    chainer.serializers.save_npz(os.path.join(args.out, "model.npz"), model)
    print("accuracy {:.4f}".format(float(accuracy)), flush=True)
# Only the root of a broadcast may have something to say.
accuracy = comm.bcast_obj(float(accuracy) if comm.rank == 0 else None)
sys.exit(int(accuracy < 0.95))
