#!/bin/sh
# Makes an environment in the directory $1 in which mpirun, mpicc and mpi4py are MPICH's.
# Debian 12: mpich libmpich-dev python3-sklearn python3-dev python3-venv
set -eu
/usr/bin/python3 -m venv --clear --system-site-packages "$1"
for program in mpirun mpiexec mpicc; do
    ln -s "/usr/bin/$program.mpich" "$1/bin/$program"
done
# mpirun looks for it beside itself.
ln -s /usr/bin/hydra_pmi_proxy "$1/bin/hydra_pmi_proxy"
pip="$1/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check"
# Debian's own mpi4py is built with Open MPI. Without isolation, because its build knows no
# setuptools of today. It is one huge file, which takes minutes to optimise and gains nothing.
$pip 'setuptools<70' wheel
CFLAGS='-O0 -g0' MPICC="$1/bin/mpicc" $pip --no-build-isolation --ignore-installed --no-binary mpi4py 'mpi4py<4'
"$1/bin/python" -c 'from mpi4py import MPI; assert "MPICH" in MPI.Get_library_version()'
