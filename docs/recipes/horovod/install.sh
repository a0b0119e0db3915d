#!/bin/sh
# Builds Horovod with PyTorch and Open MPI into the directory $1.
# Debian 12: python3-torch python3-sklearn libtorch-dev pybind11-dev libopenmpi-dev openmpi-bin
#            cmake g++ make python3-dev python3-venv
set -eu
# Debian's PyTorch and scikit-learn belong to Debian's Python.
/usr/bin/python3 -m venv --clear --system-site-packages "$1"
pip="$1/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check"
# Without isolation, because the build needs the PyTorch that is here; with these two, because
# then pip takes nothing for granted of what Debian has.
$pip 'setuptools<70' wheel
# It would be built with all optimisation and with what debuggers want: half again the time, for code
# that hands numbers to MPI.
cat > "$1/cmake" <<'END'
#!/bin/sh
[ "$1" = --build ] && exec cmake "$@"
exec cmake "$@" -DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O1
END
chmod +x "$1/cmake"
# Each compiler takes 2 GB, and the build's own default is eight at once.
export MAKEFLAGS="-j$(nproc)"
HOROVOD_CMAKE="$1/cmake" HOROVOD_WITH_PYTORCH=1 HOROVOD_WITH_MPI=1 HOROVOD_WITHOUT_GLOO=1 \
HOROVOD_WITHOUT_TENSORFLOW=1 HOROVOD_WITHOUT_MXNET=1 \
    $pip --no-build-isolation horovod==0.28.1
"$1/bin/python" -c 'import horovod.torch as hvd; assert hvd.mpi_built()'
