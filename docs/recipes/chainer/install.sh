#!/bin/sh
# Installs Chainer 7.8.1 with ChainerMN into the directory $1.
# Debian 12: python3-mpi4py openmpi-bin libopenmpi-dev g++ python3-dev python3-venv
set -eu
"${PYTHON:-python3.8}" -m venv --clear "$1"
# The one that came with that Python knows no wheels of today.
"$1/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check --upgrade 'pip<22'
"$1/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check \
    chainer==7.8.1 'numpy<1.24' 'scikit-learn<1.1' 'setuptools<70' wheel
# Linked with the MPI that is here; a wheel would bring another. It is one huge file, which takes
# minutes to optimise and gains nothing.
CFLAGS='-O0 -g0' MPICC=mpicc.openmpi "$1/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check \
    --no-binary mpi4py 'mpi4py<4'
