//! `libnvidia-ml.so.1` of machines that there are not: the C interface of NVML, answered from a
//! file. What can be written into it is in `README.md`.
//!
//! * `file` — the text of the file and what may stand in it.
//! * `units` — sizes as people write them.
//! * `models` — the properties of known models, as a file.
//! * `machine` — the machine that a file describes.
//! * `topology` — how near its GPUs are.
//! * `mig` — instances and their ids.
//! * `code` — NVML's return codes, by number and by name.
//! * `processes` — who has the GPUs' device files open.
//! * `counters` — what grows with time, kept in a file beside the machine's.
//! * `activity` — what a GPU does, given who uses it.
//! * `events` — sets of events and what was delivered to them.
//! * `library` — the state of a loaded library: the machine, its handles, faults of calls.
//! * `ffi` — the exported functions.
//!
//! Nothing here panics on purpose; what does in spite of it is answered as `NVML_ERROR_UNKNOWN`,
//! because a panic must not cross the C interface.

mod activity;
mod code;
mod counters;
mod events;
mod ffi;
mod file;
mod library;
mod machine;
mod mig;
mod models;
mod processes;
mod topology;
mod units;
