#!/bin/sh
# Makes an environment in the directory $1 in which Debian's PyTorch has the MPI backend.
# Debian 12: python3-torch python3-sklearn libtorch-dev pybind11-dev libopenmpi-dev openmpi-bin
#            g++ python3-dev python3-venv xz-utils
set -eu
here=$(dirname "$(readlink -f "$0")")
/usr/bin/python3 -m venv --clear --system-site-packages "$1"
mkdir -p "$1/source/lists/partial" "$1/source/cache/archives/partial"
cd "$1/source"

# Debian's source of its PyTorch, by a list of sources of its own: the machine's stays as it is.
sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/*.sources | head -n 1 > mirror
[ -s mirror ] || echo http://deb.debian.org/debian > mirror
echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(cat mirror) bookworm main" > list
apt="apt-get --quiet=2 -o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::SourceList=$PWD/list
     -o Dir::State::Lists=$PWD/lists -o Dir::Cache=$PWD/cache -o APT::Sandbox::User=root"
$apt update
$apt source --download-only --tar-only pytorch
file=torch/csrc/distributed/c10d/ProcessGroupMPI.cpp
tar --extract --file pytorch_*.orig.tar.xz --wildcards --strip-components=5 "*/$file"

includes=$(/usr/bin/python3 -c 'import sysconfig; print("-I" + sysconfig.get_path("include"))')
g++ -std=c++17 -O1 -shared -fPIC -DUSE_C10D_MPI -DTORCH_API_INCLUDE_EXTENSION_H $includes \
    $(mpicc.openmpi --showme:compile) -DOMPI_SKIP_MPICXX -Wno-deprecated-declarations \
    -I/usr/include/torch/csrc/api/include \
    "$here/torch_mpi.cpp" ProcessGroupMPI.cpp \
    -o "$(echo "$1"/lib/python3.*/site-packages)/_torch_mpi.so" \
    -ltorch_python -ltorch_cpu -lc10 $(mpicc.openmpi --showme:link)
cp "$here/torch_mpi.py" "$1"/lib/python3.*/site-packages/
cd "$1"
rm -r source
"$1/bin/python" -c 'import torch_mpi, torch.distributed as d; assert d.is_mpi_available()'
