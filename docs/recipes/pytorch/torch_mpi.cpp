// Makes PyTorch's own MPI backend, which Debian's PyTorch is built without, a Python module.
// ProcessGroupMPI.cpp is compiled with it, from PyTorch's source and unchanged.

#include <torch/csrc/distributed/c10d/ProcessGroupMPI.hpp>
#include <torch/csrc/utils/pybind.h>

PYBIND11_MODULE(_torch_mpi, module) {
  module.def(
      "create",
      [](std::vector<int> ranks) -> c10::intrusive_ptr<c10d::ProcessGroup> {
        return c10d::ProcessGroupMPI::createProcessGroupMPI(ranks);
      },
      pybind11::call_guard<pybind11::gil_scoped_release>());
}
