#!/bin/sh
# Installs TensorFlow of today, without GPUs, into the directory $1.
# Debian 12: python3-venv
set -eu
/usr/bin/python3 -m venv --clear "$1"
"$1/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check \
    tensorflow-cpu==2.21.0 scikit-learn
