//! Trying again what may well succeed a little later.

use std::time::{Duration, Instant};

use crate::failure::Failure;

/// The first pause; the next are longer.
const PAUSE_FIRST: Duration = Duration::from_millis(100);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long one step is tried: a daemon is restarted within this time.
const PATIENCE: Duration = Duration::from_mins(1);

/// Does a step until it succeeds, fails for good, or has failed for a minute.
pub fn retried<T>(mut step: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let begun = Instant::now();
    let mut pause = PAUSE_FIRST;
    loop {
        match step() {
            Err(failure) if failure.is_transient() && begun.elapsed() + pause < PATIENCE => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(PAUSE_MAX);
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let mut tries = 0;
        let done = retried(|| {
            tries += 1;
            match tries {
                1 => Err(Failure::Damaged("f".into())),
                _ => Ok(()),
            }
        });
        assert!(done.is_ok() && tries == 2);
        let mut tries = 0;
        let failed: Result<(), _> = retried(|| {
            tries += 1;
            Err(Failure::Changed("f".into()))
        });
        assert!(failed.is_err() && tries == 1);
    }
}
