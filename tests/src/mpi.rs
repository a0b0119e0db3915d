//! Programs for MPI.

use std::path::Path;
use std::process::Command;

/// Adds up the numbers of all ranks and says where each runs: `rank 0 of 2 on NODE: 1`.
pub const SUM: &str = r#"
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
int main(int count, char **words) {
    MPI_Init(&count, &words);
    int rank, size, sum;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    printf("rank %d of %d on %s: %d\n", rank, size, getenv("AZ_BATCH_NODE_ID"), sum);
    MPI_Finalize();
}
"#;

/// Compiles C by the compiler of one kind of MPI, such as `mpicc.mpich`. The text is written beside
/// the program.
pub fn compile(compiler: &str, text: &str, program: &Path) {
    let source = program.with_extension("c");
    std::fs::write(&source, text).expect("a file");
    let mut compile = Command::new(compiler);
    let built = compile.arg(&source).arg("-o").arg(program).output();
    let built = built.unwrap_or_else(|error| panic!("{compiler} cannot be started: {error}"));
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{compiler}: {errors}");
}
