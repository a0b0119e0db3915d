//! Actions under way: held from their decision until the store's events show their outcome.

use jiff::Timestamp;
use lote_model::id::{JobUid, NodeName};
use lote_model::job::ErrorRecord;

use super::{InFlight, Snapshot, Unsuitable};
use crate::actions::{Action, Decisions, Subject};

/// Why a start came to nothing, other than by a change in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The job can never start.
    Failed(ErrorRecord),
    /// These nodes do not do; others may.
    Unsuitable {
        /// The nodes.
        nodes: Vec<NodeName>,
        /// Why.
        error: ErrorRecord,
    },
}

impl Snapshot {
    /// Notes that everything decided is under way.
    pub fn begin(&mut self, decisions: &Decisions, now: Timestamp) {
        for uid in &decisions.nothing_to_do {
            self.touched.remove(uid);
        }
        if decisions.explained {
            self.explained_at = Some(now);
        }
        for action in &decisions.actions {
            self.begin_action(action, now);
        }
    }

    fn begin_action(&mut self, action: &Action, now: Timestamp) {
        match action {
            Action::Start(start) => {
                let grants: Vec<_> = start
                    .nodes
                    .iter()
                    .map(|node| (node.record.name.clone(), node.grant.clone()))
                    .collect();
                let names: Vec<_> = start.node_names().cloned().collect();
                let uid = &start.record.uid;
                self.set_in_flight(uid, Some(InFlight::Start { grants, since: now }));
                for name in &names {
                    self.refresh_hold(name, uid, now);
                }
            }
            Action::Change(change) => match &change.subject {
                Subject::Job(uid) => self.set_in_flight(uid, Some(InFlight::Change)),
                Subject::LeftOver(uid) => self.set_left_over_in_flight(uid, true),
                Subject::Finished(uid) => {
                    if let Some(erasure) = self.erasures.remove(uid) {
                        self.erasures_in_flight.insert(uid.clone(), erasure);
                    }
                }
                Subject::Cluster(key) => {
                    let cluster = self.cluster_mut(key);
                    cluster.in_flight = true;
                    cluster.pending.clone_from(&change.cluster_status);
                    self.refresh_members(key, now);
                }
                Subject::FileServer(place) => {
                    self.begin_file_server(place, change.file_server_node.clone());
                }
                Subject::Share(key) => self.with_workspace(key, |it| it.in_flight = true),
                // Only actions about power have this subject.
                Subject::Power(name) => self.set_power_in_flight(name, true, now),
            },
            Action::Power(power) => {
                let name = &power.node.name;
                if let Some(node) = self.nodes.get_mut(name).filter(|_| power.order.is_some()) {
                    node.power.switched_at = Some(now);
                }
                if let Some(node) = self.nodes.get_mut(name) {
                    node.power.failure = None;
                }
                self.set_power_in_flight(name, true, now);
            }
        }
    }

    /// Notes that an action is over, well or not, and that this snapshot has seen every change
    /// that it made. What it was to reach and did not is decided again.
    pub fn finish(&mut self, subject: &Subject, now: Timestamp) {
        match subject {
            Subject::Job(uid) => {
                let ended = self.jobs.get_mut(uid).and_then(|job| job.in_flight.take());
                self.release_start(uid, ended, now);
                self.refresh_job(uid);
            }
            Subject::LeftOver(uid) => self.set_left_over_in_flight(uid, false),
            Subject::Finished(uid) => {
                if let Some(erasure) = self.erasures_in_flight.remove(uid) {
                    self.erasures.insert(uid.clone(), erasure);
                }
            }
            Subject::Cluster(key) => {
                let cluster = self.cluster_mut(key);
                cluster.in_flight = false;
                cluster.pending = None;
                self.refresh_members(key, now);
                self.drop_needless_cluster(key);
            }
            Subject::FileServer(place) => self.finish_file_server(place),
            Subject::Share(key) => self.with_workspace(key, |it| it.in_flight = false),
            Subject::Power(name) => self.set_power_in_flight(name, false, now),
        }
    }

    /// Notes why a start came to nothing. Call it before [`Snapshot::finish`].
    pub fn refuse(&mut self, uid: &JobUid, refusal: Refusal) {
        let Some(job) = self.jobs.get_mut(uid) else {
            return;
        };
        match refusal {
            Refusal::Failed(error) => job.plan_failure = Some(error),
            Refusal::Unsuitable { nodes, error } => {
                let mut avoided = job
                    .unsuitable
                    .take()
                    .map(|unsuitable| unsuitable.nodes)
                    .unwrap_or_default();
                avoided.extend(nodes);
                job.unsuitable = Some(Unsuitable {
                    nodes: avoided,
                    error,
                });
            }
        }
        self.refresh_job(uid);
    }

    fn set_in_flight(&mut self, uid: &JobUid, in_flight: Option<InFlight>) {
        if let Some(job) = self.jobs.get_mut(uid) {
            job.in_flight = in_flight;
        }
        self.refresh_job(uid);
    }

    fn set_left_over_in_flight(&mut self, uid: &JobUid, in_flight: bool) {
        if let Some(gang) = self.gangs.get_mut(uid) {
            gang.in_flight = in_flight;
        }
        self.refresh_job(uid);
    }

    pub(super) fn release_start(&mut self, uid: &JobUid, ended: Option<InFlight>, now: Timestamp) {
        if let Some(InFlight::Start { grants, .. }) = ended {
            for (name, _) in &grants {
                self.refresh_hold(name, uid, now);
            }
        }
    }
}
