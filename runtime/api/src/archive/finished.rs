//! Which jobs have ended, and whose turn it is to go.

use std::collections::{BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};
use lote_model::duration::Seconds;
use lote_model::job::JobStatus;
use lote_store::Event;

/// The jobs that have ended, by the keys of their statuses.
#[derive(Debug, Default)]
pub(super) struct Finished {
    by_end: BTreeSet<(Timestamp, String)>,
    ends: HashMap<String, Timestamp>,
}

impl Finished {
    /// Notes what happened to a status.
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::Put(versioned) => self.note_status(&versioned.key, &versioned.value),
            Event::Delete { key, .. } => self.forget(key),
        }
    }

    /// Notes a status. One that cannot be read is nobody's turn.
    pub(super) fn note_status(&mut self, key: &str, value: &[u8]) {
        self.forget(key);
        let status = serde_json::from_slice::<JobStatus>(value).ok();
        if let Some(status) = status.filter(|status| status.state.is_terminal()) {
            let end = status.end_time.unwrap_or(status.state_since);
            self.by_end.insert((end, key.to_owned()));
            self.ends.insert(key.to_owned(), end);
        }
    }

    /// Not to be thought of until its status changes.
    pub(super) fn forget(&mut self, key: &str) {
        if let Some((key, end)) = self.ends.remove_entry(key) {
            self.by_end.remove(&(end, key));
        }
    }

    /// Those that are too many or too old, the oldest first.
    pub(super) fn due(
        &self,
        now: Timestamp,
        jobs_max: u64,
        age_max: Option<Seconds>,
    ) -> Vec<String> {
        let too_many = (self.by_end.len() as u64).saturating_sub(jobs_max);
        let oldest = age_max.and_then(|age| {
            let age = i64::try_from(age.0).ok()?;
            now.checked_sub(SignedDuration::from_secs(age)).ok()
        });
        let is_due = |position: u64, end: Timestamp| {
            position < too_many || oldest.is_some_and(|oldest| end <= oldest)
        };
        (0..)
            .zip(&self.by_end)
            .take_while(|(position, (end, _))| is_due(*position, *end))
            .map(|(_, (_, key))| key.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use lote_model::state::ExecutionState;
    use proptest::prelude::*;

    use super::*;

    fn status(state: ExecutionState, end: i64) -> Vec<u8> {
        let end = Timestamp::from_second(end).unwrap();
        let status = serde_json::json!({
            "uid": "u", "state": state, "stateSince": end, "attempt": 1, "endTime": end,
        });
        serde_json::to_vec(&status).unwrap()
    }

    fn with(ends: &[i64]) -> Finished {
        let mut finished = Finished::default();
        for (number, end) in ends.iter().enumerate() {
            let value = status(ExecutionState::Succeeded, *end);
            finished.note_status(&format!("j{number}"), &value);
        }
        finished
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_oldest_beyond_the_number_go() {
        let finished = with(&[30, 10, 20, 40]);
        assert_eq!(finished.due(at(50), 4, None), <[&str; 0]>::default());
        assert_eq!(finished.due(at(50), 2, None), ["j1", "j2"]);
        assert_eq!(finished.due(at(50), 0, None).len(), 4);
    }

    #[test]
    fn those_go_whose_time_has_come() {
        let finished = with(&[30, 10, 20, 40]);
        assert_eq!(
            finished.due(at(50), 4, Some(Seconds(20))),
            ["j1", "j2", "j0"]
        );
        assert_eq!(finished.due(at(50), 3, Some(Seconds(100))), ["j1"]);
        assert_eq!(finished.due(at(50), 9, Some(Seconds(u64::MAX))).len(), 0);
    }

    #[test]
    fn jobs_that_run_have_all_the_time() {
        let mut finished = Finished::default();
        finished.note_status("a", &status(ExecutionState::Running, 1));
        finished.note_status("b", b"not a status");
        assert_eq!(finished.due(at(100), 0, Some(Seconds(0))).len(), 0);
        // A job that was requeued after its end was known has not ended.
        finished.note_status("a", &status(ExecutionState::Failed, 1));
        finished.note_status("a", &status(ExecutionState::Queued, 1));
        assert_eq!(finished.due(at(100), 0, Some(Seconds(0))).len(), 0);
    }

    proptest! {
        #[test]
        fn what_stays_is_never_older_than_what_goes(
            ends in prop::collection::vec(0_i64..100, 0..30),
            jobs_max in 0_u64..40,
            age in prop::option::of(0_u64..120),
        ) {
            let finished = with(&ends);
            let due = finished.due(at(100), jobs_max, age.map(Seconds));
            let end = |key: &String| finished.ends[key];
            let staying = finished.ends.keys().filter(|key| !due.contains(key));
            let (newest_going, oldest_staying) = (due.iter().map(end).max(), staying.map(end).min());
            if let (Some(going), Some(staying)) = (newest_going, oldest_staying) {
                prop_assert!(going <= staying);
            }
            prop_assert!((ends.len() - due.len()) as u64 <= jobs_max);
        }
    }
}
