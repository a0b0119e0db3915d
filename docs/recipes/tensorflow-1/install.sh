#!/bin/sh
# Installs TensorFlow 1.8 for Python 3.6 into the directory $1.
# A Python 3.6, named by $PYTHON.
set -eu
"${PYTHON:-python3.6}" -m venv --clear "$1"
# The one that came with that Python knows no wheels of today.
"$1/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check --upgrade 'pip<22'
"$1/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check \
    tensorflow==1.8.0 'numpy<1.17' 'protobuf<3.20' 'scipy<1.6' 'scikit-learn<0.25'
