"""In the place of TensorFlow's example of this name: the same arguments, the digits of scikit-learn."""

import os
import sys

import numpy
import tensorflow as tf
from sklearn.datasets import load_digits

flags = tf.app.flags
flags.DEFINE_string("data_dir", "/tmp/mnist-data", "")
flags.DEFINE_string("log_dir", None, "")
flags.DEFINE_string("checkpoint_dir", None, "")
flags.DEFINE_integer("task_index", None, "")
flags.DEFINE_integer("num_gpus", 1, "")
flags.DEFINE_integer("hidden_units", 64, "")
flags.DEFINE_integer("train_steps", 200, "")
flags.DEFINE_integer("batch_size", 32, "")
flags.DEFINE_float("learning_rate", 0.002, "")
flags.DEFINE_string("ps_hosts", "localhost:2222", "")
flags.DEFINE_string("worker_hosts", "localhost:2223,localhost:2224", "")
flags.DEFINE_string("job_name", None, "")
FLAGS = flags.FLAGS


def main(unused):
    task = FLAGS.task_index
    ps_hosts, worker_hosts = FLAGS.ps_hosts.split(","), FLAGS.worker_hosts.split(",")
    assert (len(ps_hosts), len(worker_hosts)) == (1, 2), (ps_hosts, worker_hosts)
    node = os.environ["AZ_BATCH_NODE_ID"]
    print("{} {} on {}".format(FLAGS.job_name, task, node), flush=True)
    one_thread = tf.ConfigProto(
        allow_soft_placement=True, inter_op_parallelism_threads=2, intra_op_parallelism_threads=1
    )
    # No worker needs another one: one may be done before the next begins.
    one_thread.device_filters.extend(["/job:ps", "/job:worker/task:{}".format(task)])
    cluster = tf.train.ClusterSpec({"ps": ps_hosts, "worker": worker_hosts})
    server = tf.train.Server(cluster, FLAGS.job_name, task, config=one_thread)
    if FLAGS.job_name == "ps":
        assert FLAGS.num_gpus == 0
        assert FLAGS.data_dir == os.environ["AZ_BATCHAI_JOB_MOUNT_ROOT"] + "/data/mnist_data"
        server.join()
    assert FLAGS.num_gpus == 1
    # The recipe names an input directory that it does not declare.
    assert "AZ_BATCHAI_INPUT_DATASET" not in os.environ and FLAGS.data_dir == "", FLAGS.data_dir
    assert FLAGS.checkpoint_dir == os.environ["AZ_BATCHAI_OUTPUT_MODEL"], FLAGS.checkpoint_dir
    assert FLAGS.log_dir == os.environ["AZ_BATCHAI_OUTPUT_TENSORBOARD"], FLAGS.log_dir
    assert os.path.isdir(os.environ["AZ_BATCHAI_JOB_MOUNT_ROOT"] + "/data")

    digits = load_digits()
    order = numpy.random.RandomState(7).permutation(len(digits.target))
    images = (digits.data[order] / 16).astype(numpy.float32)
    labels = digits.target[order]
    test = {"images": images[:449], "labels": labels[:449]}
    # Every worker draws from all of them: how much one contributes depends on when it came.
    images, labels = images[449:], labels[449:]

    device = "/job:worker/task:{}/gpu:0".format(task)
    with tf.device(tf.train.replica_device_setter(worker_device=device, cluster=cluster)):
        step = tf.train.get_or_create_global_step()
        features, target = tf.placeholder(tf.float32, [None, 64]), tf.placeholder(tf.int64, [None])
        hidden = tf.layers.dense(features, FLAGS.hidden_units, activation=tf.nn.relu)
        scores = tf.layers.dense(hidden, 10)
        loss = tf.losses.sparse_softmax_cross_entropy(target, scores)
        train = tf.train.AdamOptimizer(FLAGS.learning_rate).minimize(loss, global_step=step)
        measure = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(scores, 1), target), tf.float32))
    # The first worker makes the weights; the other looks every second whether they are there.
    supervisor = tf.train.Supervisor(
        is_chief=task == 0, global_step=step, summary_op=None, recovery_wait_secs=1
    )
    session = supervisor.prepare_or_wait_for_session(server.target, config=one_thread)
    picked, now = numpy.random.RandomState(task), 0
    while now < FLAGS.train_steps:
        rows = picked.choice(len(labels), FLAGS.batch_size, replace=False)
        _, now = session.run([train, step], {features: images[rows], target: labels[rows]})
    accuracy = session.run(measure, {features: test["images"], target: test["labels"]})
    if task == 0:
        supervisor.saver.save(session, FLAGS.checkpoint_dir + "/model.ckpt", global_step=now)
        with tf.summary.FileWriter(FLAGS.log_dir) as writer:
            value = tf.Summary.Value(tag="accuracy", simple_value=float(accuracy))
            writer.add_summary(tf.Summary(value=[value]), now)
    print("accuracy {:.4f} after {} steps".format(accuracy, now), flush=True)
    sys.exit(int(accuracy < 0.95))


if __name__ == "__main__":
    tf.app.run()
