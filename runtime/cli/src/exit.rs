//! The exit codes of the command line, documented in `--help` and in
//! docs/command-line.md.

/// Everything went well; a followed job succeeded.
pub const SUCCESS: u8 = 0;
/// The daemon refused the request, or something here failed.
pub const FAILURE: u8 = 1;
/// The command line is wrong. clap uses the same.
pub const USAGE: u8 = 2;
/// The named resource does not exist.
pub const NOT_FOUND: u8 = 3;
/// No daemon answered.
pub const UNREACHABLE: u8 = 4;
/// `lote job wait --timeout` ran out, as with coreutils' `timeout`.
pub const WAIT_TIMEOUT: u8 = 124;
/// The job failed without an exit code of its own: it was terminated, lost its
/// node, ran out of time, or never started.
pub const JOB_WITHOUT_CODE: u8 = 125;
/// Left with a second Ctrl-C; the job may still be ending.
pub const INTERRUPTED: u8 = 130;

/// The table below `--help`.
pub const HELP: &str = "\
Exit codes:
  0    done; for `run` and `job wait`: the job succeeded
  1    the request was refused or failed
  2    the command line is wrong
  3    the resource does not exist
  4    no daemon answers
  124  `job wait --timeout` ran out
  125  the job failed without an exit code (terminated, node lost, never started)
  130  left with a second Ctrl-C
  `run` and `job wait` otherwise end with the job's own exit code.";

/// The exit code for an ended job, from its state and its own exit code.
///
/// Only the low eight bits of a process's exit status exist, so anything else
/// (the API's -1, say) is not a code of the job's program.
pub fn of_job(succeeded: bool, exit_code: Option<i64>) -> u8 {
    if succeeded {
        return SUCCESS;
    }
    exit_code
        .and_then(|code| u8::try_from(code).ok())
        .filter(|&code| code != 0)
        .unwrap_or(JOB_WITHOUT_CODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_job_never_looks_successful() {
        assert_eq!(of_job(true, Some(0)), 0);
        assert_eq!(of_job(false, Some(3)), 3);
        for code in [None, Some(0), Some(-1), Some(256)] {
            assert_eq!(of_job(false, code), JOB_WITHOUT_CODE, "{code:?}");
        }
    }
}
