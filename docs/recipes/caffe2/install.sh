#!/bin/sh
# Installs Caffe2, which is part of PyTorch 1.4, for Python 3.8 into the directory $1.
# A Python 3.8, named by $PYTHON.
set -eu
"${PYTHON:-python3.8}" -m venv --clear "$1"
# The one that came with that Python knows no wheels of today.
"$1/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check --upgrade 'pip<22'
pip="$1/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check"
$pip --no-deps torch==1.4.0
$pip 'numpy<1.24' 'protobuf<3.21' future six networkx 'scikit-learn<1.1'
