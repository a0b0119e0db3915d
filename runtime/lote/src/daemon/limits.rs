//! What the system lets the daemon have at once.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Takes all the open files that the daemon may have. The limit that shells and
/// systemd start programs with, 1,024, is for those that use `select(2)`; a
/// thousand idle clients would leave none for the store and the jobs. Jobs get a
/// limit of their own.
pub(super) fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!("the limit of open files cannot be raised: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_that_counts_is_the_hard_one() {
        raise_open_files();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(soft, hard);
    }
}
