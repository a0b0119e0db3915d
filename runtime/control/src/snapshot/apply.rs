//! Events of the store, key by key.

use jiff::Timestamp;
use lote_model::allocation::Allocation;
use lote_model::cluster::{ClusterRecord, ClusterStatus};
use lote_model::id::{FileServerUid, JobUid, NodeName};
use lote_model::job::{JobRecord, JobStatus};
use lote_model::key;
use lote_model::node::NodeRecord;
use lote_model::plan::Part as ProcessPart;
use lote_model::report::Report;
use lote_model::state::ExecutionState;
use lote_store::{Entry, Event, StoreError, Versioned};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Erasure, Snapshot, Stored};
use crate::planted::Fault;

/// The members of a job that tell whether the rest is worth reading.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobPeek {
    uid: JobUid,
    delete_requested_at: Option<Timestamp>,
}

/// The members of a status that tell whether the rest is worth reading.
#[derive(Deserialize)]
struct StatusPeek {
    uid: JobUid,
    state: ExecutionState,
}

/// The members of a node plan that say whether primary processes run there.
#[derive(Deserialize)]
struct PlanPeek {
    launch: LaunchPeek,
}

#[derive(Deserialize)]
struct LaunchPeek {
    processes: Vec<ProcessPeek>,
}

#[derive(Deserialize)]
struct ProcessPeek {
    part: ProcessPart,
}

fn decode<T: DeserializeOwned>(versioned: &Versioned) -> Result<T, StoreError> {
    serde_json::from_slice(&versioned.value).map_err(|source| StoreError::Decode {
        key: versioned.key.clone(),
        expected: std::any::type_name::<T>(),
        source,
    })
}

fn stored<T: DeserializeOwned>(versioned: &Versioned) -> Result<Stored<T>, StoreError> {
    Ok(Stored {
        value: decode(versioned)?,
        revision: versioned.mod_revision,
    })
}

impl Snapshot {
    /// Follows one change of the store. `now` is when it was seen, for what lasts: how long a
    /// node has been away or idle. A value that cannot be read is an error and changes nothing.
    pub fn apply(&mut self, event: &Event, now: Timestamp) -> Result<(), StoreError> {
        match event {
            Event::Put(versioned) => self.put(versioned, now),
            Event::Delete { key, .. } => {
                self.delete(key, now);
                Ok(())
            }
        }
    }

    fn put(&mut self, versioned: &Versioned, now: Timestamp) -> Result<(), StoreError> {
        let key = versioned.key.as_str();
        if let Some(place) = key.strip_prefix(key::JOBS) {
            self.put_job(place, versioned, now)
        } else if let Some(place) = key.strip_prefix(key::JOB_STATUS) {
            self.put_job_status(place, versioned, now)
        } else if let Some((node, uid)) = pair(key, key::ALLOCATIONS) {
            let allocation: Allocation = decode(versioned)?;
            self.with_part(&JobUid::new(uid), &NodeName::new(node), now, |part| {
                part.allocation = Some(allocation);
            });
            Ok(())
        } else if let Some((uid, node)) = pair(key, key::REPORTS) {
            let report: Report = decode(versioned)?;
            if Fault::ForgetReport.is_planted() && versioned.mod_revision.is_multiple_of(16) {
                return Ok(());
            }
            self.with_part(&JobUid::new(uid), &NodeName::new(node), now, |part| {
                part.report = Some(report);
            });
            Ok(())
        } else if let Some(node) = key.strip_prefix(key::NODES) {
            let record: NodeRecord = decode(versioned)?;
            self.set_node_record(&NodeName::new(node), Some(record), now);
            Ok(())
        } else if let Some(node) = key.strip_prefix(key::ALIVE) {
            self.set_node_alive(&NodeName::new(node), true, now);
            Ok(())
        } else if let Some(node) = key.strip_prefix(key::DRAINS) {
            self.set_node_drained(&NodeName::new(node), true, now);
            Ok(())
        } else if let Some(node) = key.strip_prefix(key::POWER) {
            let record = Some(decode(versioned)?);
            self.set_node_power(&NodeName::new(node), record, versioned.mod_revision, now);
            Ok(())
        } else if key.starts_with(key::CLUSTERS) {
            self.put_cluster(versioned)
        } else if key.starts_with(key::CLUSTER_STATUS) {
            self.put_cluster_status(versioned, now)
        } else if key.starts_with(key::FILE_SERVERS) {
            self.put_file_server(versioned)
        } else if key.starts_with(key::FILE_SERVER_STATUS) {
            self.put_file_server_status(versioned)
        } else if let Some((node, uid)) = pair(key, key::EXPORTS) {
            let stored = Some(stored(versioned)?);
            self.set_export((FileServerUid::new(uid), NodeName::new(node)), stored);
            Ok(())
        } else if let Some((node, uid)) = pair(key, key::EXPORTED) {
            let stored = Some(stored(versioned)?);
            self.set_exported((FileServerUid::new(uid), NodeName::new(node)), stored);
            Ok(())
        } else if let Some(rest) = key.strip_prefix(key::SHARES) {
            self.set_share(rest, Some(decode(versioned)?), versioned.mod_revision);
            Ok(())
        } else if let Some(rest) = key.strip_prefix(key::DAILY_USAGE) {
            let day = (decode(versioned)?, versioned.mod_revision);
            self.days.insert(rest.into(), day);
            Ok(())
        } else if let Some(rest) = key.strip_prefix(key::PLANS) {
            self.put_plan(rest, versioned)
        } else {
            Ok(())
        }
    }

    fn delete(&mut self, key: &str, now: Timestamp) {
        if let Some(place) = key.strip_prefix(key::JOBS) {
            self.delete_job(place, now);
        } else if let Some(place) = key.strip_prefix(key::JOB_STATUS) {
            self.delete_job_status(place);
        } else if let Some((node, uid)) = pair(key, key::ALLOCATIONS) {
            self.with_part(&JobUid::new(uid), &NodeName::new(node), now, |part| {
                part.allocation = None;
            });
        } else if let Some((uid, node)) = pair(key, key::REPORTS) {
            self.with_part(&JobUid::new(uid), &NodeName::new(node), now, |part| {
                part.report = None;
            });
        } else if let Some(node) = key.strip_prefix(key::NODES) {
            self.set_node_record(&NodeName::new(node), None, now);
        } else if let Some(node) = key.strip_prefix(key::ALIVE) {
            self.set_node_alive(&NodeName::new(node), false, now);
        } else if let Some(node) = key.strip_prefix(key::DRAINS) {
            self.set_node_drained(&NodeName::new(node), false, now);
        } else if let Some(node) = key.strip_prefix(key::POWER) {
            self.set_node_power(&NodeName::new(node), None, 0, now);
        } else if key.starts_with(key::CLUSTERS) {
            self.delete_cluster(key);
        } else if let Some(place) = key.strip_prefix(key::CLUSTER_STATUS) {
            self.delete_cluster_status(place, now);
        } else if let Some(place) = key.strip_prefix(key::FILE_SERVERS) {
            self.delete_file_server(place);
        } else if let Some(place) = key.strip_prefix(key::FILE_SERVER_STATUS) {
            self.delete_file_server_status(place);
        } else if let Some((node, uid)) = pair(key, key::EXPORTS) {
            self.set_export((FileServerUid::new(uid), NodeName::new(node)), None);
        } else if let Some((node, uid)) = pair(key, key::EXPORTED) {
            self.set_exported((FileServerUid::new(uid), NodeName::new(node)), None);
        } else if let Some(rest) = key.strip_prefix(key::SHARES) {
            self.set_share(rest, None, 0);
        } else if let Some(rest) = key.strip_prefix(key::DAILY_USAGE) {
            self.days.remove(rest);
        }
    }

    /// A new job has version 1. A job that is written again and is not among the live ones has
    /// ended; of those only deletions matter.
    fn put_job(
        &mut self,
        place: &str,
        versioned: &Versioned,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let peek: JobPeek = decode(versioned)?;
        if let Some(job) = self.jobs.get_mut(&peek.uid) {
            if versioned.mod_revision > job.record_revision {
                job.record = std::sync::Arc::new(decode(versioned)?);
                job.record_revision = versioned.mod_revision;
                self.refresh_job(&peek.uid);
            }
            return Ok(());
        }
        let is_finished = match &self.loading {
            Some(loading) => loading.finished.contains(&peek.uid),
            None => versioned.version > 1,
        };
        if is_finished {
            if peek.delete_requested_at.is_some() {
                self.add_erasure(place, peek.uid, versioned.mod_revision);
            }
            return Ok(());
        }
        let record: JobRecord = decode(versioned)?;
        if let Some(old) = self.job_places.get(place).cloned() {
            self.remove_job(place, &old, now);
        }
        self.add_job(place, record, versioned.mod_revision, now);
        let early = self
            .loading
            .as_mut()
            .and_then(|loading| loading.statuses.remove(&peek.uid));
        if let Some((status, revision)) = early {
            self.set_job_status(&peek.uid, Some(status), revision);
        }
        Ok(())
    }

    fn put_job_status(
        &mut self,
        place: &str,
        versioned: &Versioned,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let StatusPeek { uid, state } = decode(versioned)?;
        if state.is_terminal() {
            if let Some(loading) = &mut self.loading {
                loading.finished.insert(uid.clone());
            }
            let erase = self
                .jobs
                .get(&uid)
                .filter(|job| job.record.delete_requested_at.is_some());
            if let Some(revision) = erase.map(|job| job.record_revision) {
                self.add_erasure(place, uid.clone(), revision);
            }
            self.remove_job(place, &uid, now);
            return Ok(());
        }
        if self.jobs.contains_key(&uid) {
            let status: JobStatus = decode(versioned)?;
            self.set_job_status(&uid, Some(status), versioned.mod_revision);
        } else if let Some(loading) = &mut self.loading {
            loading
                .statuses
                .insert(uid, (decode(versioned)?, versioned.mod_revision));
        }
        Ok(())
    }

    fn set_job_status(
        &mut self,
        uid: &JobUid,
        status: Option<JobStatus>,
        revision: lote_store::Revision,
    ) {
        let Some(job) = self.jobs.get_mut(uid) else {
            return;
        };
        if revision != 0 && revision <= job.status_revision {
            return;
        }
        job.status = status;
        job.status_revision = revision;
        self.refresh_job(uid);
    }

    fn delete_job(&mut self, place: &str, now: Timestamp) {
        if let Some(uid) = self.job_places.get(place).cloned() {
            self.remove_job(place, &uid, now);
        }
        let count = self.erasures_in_flight.len();
        self.erasures_in_flight
            .retain(|_, erasure| erasure.place != place);
        if self.erasures_in_flight.len() == count {
            self.erasures.retain(|_, erasure| erasure.place != place);
        }
    }

    fn delete_job_status(&mut self, place: &str) {
        if let Some(uid) = self.job_places.get(place).cloned() {
            self.set_job_status(&uid, None, 0);
        }
    }

    fn add_erasure(&mut self, place: &str, uid: JobUid, record_revision: lote_store::Revision) {
        let erasure = Erasure {
            place: place.to_owned(),
            record_revision,
        };
        if let Some(under_way) = self.erasures_in_flight.get_mut(&uid) {
            *under_way = erasure;
        } else {
            self.erasures.insert(uid, erasure);
        }
    }

    fn put_cluster(&mut self, versioned: &Versioned) -> Result<(), StoreError> {
        let record: ClusterRecord = decode(versioned)?;
        let key = versioned.key.as_str().into();
        let cluster = self.cluster_mut(&key);
        let was_open = cluster.is_open();
        cluster.size = record.properties.vm_size.to_ascii_lowercase();
        cluster.record = Some(record);
        cluster.record_revision = versioned.mod_revision;
        if was_open != cluster.is_open() {
            self.refresh_jobs_of_cluster(&key);
        }
        Ok(())
    }

    fn delete_cluster(&mut self, key: &str) {
        let Some((key, _)) = self.clusters.get_key_value(key) else {
            return;
        };
        let key = key.clone();
        self.cluster_mut(&key).record = None;
        self.refresh_jobs_of_cluster(&key);
        self.drop_needless_cluster(&key);
    }

    fn put_cluster_status(
        &mut self,
        versioned: &Versioned,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Entry::<ClusterStatus> { value, .. } = versioned.clone().try_into()?;
        let place = versioned
            .key
            .strip_prefix(key::CLUSTER_STATUS)
            .unwrap_or_default();
        let key = format!("{}{place}", key::CLUSTERS).into();
        let cluster = self.cluster_mut(&key);
        cluster.status = Some(value);
        cluster.status_revision = versioned.mod_revision;
        self.refresh_members(&key, now);
        Ok(())
    }

    fn delete_cluster_status(&mut self, place: &str, now: Timestamp) {
        let key = format!("{}{place}", key::CLUSTERS).into();
        let cluster = self.cluster_mut(&key);
        cluster.status = None;
        cluster.status_revision = 0;
        self.refresh_members(&key, now);
    }

    /// Which nodes of a gang have primary processes. One node alone decides for itself.
    fn put_plan(&mut self, rest: &str, versioned: &Versioned) -> Result<(), StoreError> {
        let mut parts = rest.split('/');
        let (Some(uid), Some(attempt), Some(rank)) = (parts.next(), parts.next(), parts.next())
        else {
            return Ok(());
        };
        let (Ok(attempt), Ok(rank)) = (attempt.parse::<u32>(), rank.parse::<u32>()) else {
            return Ok(());
        };
        let uid = JobUid::new(uid);
        let Some(job) = self
            .jobs
            .get_mut(&uid)
            .filter(|job| job.request.node_count > 1)
        else {
            return Ok(());
        };
        let plan: PlanPeek = decode(versioned)?;
        if job
            .primaries
            .as_ref()
            .is_none_or(|(known, _)| *known != attempt)
        {
            job.primaries = Some((attempt, std::collections::BTreeSet::new()));
        }
        let has_primary = plan
            .launch
            .processes
            .iter()
            .any(|process| process.part == ProcessPart::Primary);
        if let Some((_, ranks)) = job.primaries.as_mut().filter(|_| has_primary) {
            ranks.insert(rank);
        }
        self.refresh_job(&uid);
        Ok(())
    }
}

/// The two parts of a key after its prefix.
fn pair<'a>(key: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    key.strip_prefix(prefix)?.split_once('/')
}
