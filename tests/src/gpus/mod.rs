//! Machines with GPUs that there are not, and daemons that believe in them.
//!
//! * [`standin`] — character devices that lead to no GPU.
//! * [`machine`] — the file of the simulated NVML, the device files, what the kernel would tell.
//! * [`node`] — what a daemon says of its GPUs.

pub mod machine;
pub mod node;
pub mod standin;
