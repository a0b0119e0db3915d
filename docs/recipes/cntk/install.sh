#!/bin/sh
# Installs CNTK 2.7 for Python 3.6 into the directory $1.
# Debian 12: openmpi-bin libopenmpi3 libgomp1; a Python 3.6, named by $PYTHON.
set -eu
"${PYTHON:-python3.6}" -m venv --clear "$1"
# The one that came with that Python knows no wheels of today.
"$1/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check --upgrade 'pip<22'
"$1/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check \
    cntk==2.7 'numpy<1.20' 'scipy<1.6' 'scikit-learn<0.25'
# CNTK was linked with Open MPI 1.10. What it calls is still in today's library, under a new name.
mkdir "$1/mpi"
library=$(dirname "$(/sbin/ldconfig -p | sed -n 's/.*libmpi\.so\.40 .*=> //p' | head -n 1)")
ln -s "$library/libmpi.so.40" "$1/mpi/libmpi.so.12"
ln -s "$library/libmpi_cxx.so.40" "$1/mpi/libmpi_cxx.so.1"
