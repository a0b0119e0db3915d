"""Gives Debian's PyTorch the MPI backend: import it before `init_process_group("mpi")`.

A PyTorch that is built with MPI has `ProcessGroupMPI` in its own library. Here the same code lies
in a module beside it, which is put where PyTorch looks.
"""

from torch.distributed import distributed_c10d

import _torch_mpi

if not distributed_c10d.is_mpi_available():
    distributed_c10d.ProcessGroupMPI = _torch_mpi
    distributed_c10d._MPI_AVAILABLE = True
