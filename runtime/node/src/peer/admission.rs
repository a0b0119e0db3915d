//! What the asked daemon finds out for itself before anything is started.

use std::sync::Arc;
use std::time::Duration;

use lote_model::allocation::{Allocation, AllocationPhase};
use lote_model::id::{JobUid, NodeName};
use lote_model::key;
use lote_rsh::protocol::{Asked, Kind, Start};
use lote_store::{Store, StoreError, get_json};

use super::frames::{self, refuse};
use super::member::Member;
use super::session::{self, WhenSilent};
use super::{BoxedChannel, Members};

/// How long the asking daemon may take to say what it wants.
const ASKING_MAX: Duration = Duration::from_secs(10);

/// How long this node may take to see what the store says of the job.
const CATCHING_UP_MAX: Duration = Duration::from_secs(10);

/// Starts commands here that processes on other nodes of the same job ask for.
#[derive(Clone)]
pub struct RemoteStarts {
    pub(crate) node: NodeName,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) members: Arc<Members>,
}

impl std::fmt::Debug for RemoteStarts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("RemoteStarts");
        shown.field("node", &self.node).finish_non_exhaustive()
    }
}

/// Why nothing is started.
enum Refusal {
    /// It never will be.
    Final(String),
    /// Nobody can tell now.
    Later(String),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Later(format!("its daemon cannot ask the store: {error}"))
    }
}

impl RemoteStarts {
    /// Carries out one remote start, to its end or that of the channel. `from` is the node whose
    /// certificate the asking daemon has shown; whatever else comes over the channel is only
    /// what it says.
    pub async fn serve(&self, from: &NodeName, mut channel: BoxedChannel) {
        let asking = async {
            let asked = Asked::decode(&frames::expect(&mut channel, Kind::Asked).await?)?;
            let start = Start::decode(&frames::expect(&mut channel, Kind::Start).await?)?;
            Ok::<_, std::io::Error>((asked, start))
        };
        let (asked, start) = match tokio::time::timeout(ASKING_MAX, asking).await {
            Ok(Ok(asked)) => asked,
            Ok(Err(error)) => {
                let reason = format!("{error}; the daemons are of different versions");
                return refuse(&mut channel, Kind::Refused, &reason).await;
            }
            Err(_) => return,
        };
        match self.admit(from, &asked).await {
            Ok(member) => {
                session::serve(&member, from, &start, channel, WhenSilent::Wait).await;
            }
            Err(Refusal::Final(reason)) => {
                let job = &asked.job;
                tracing::warn!(%from, job, "refused a remote start: {reason}");
                let reason = format!("node {}: {reason}", self.node);
                refuse(&mut channel, Kind::Refused, &reason).await;
            }
            Err(Refusal::Later(reason)) => {
                let reason = format!("node {}: {reason}", self.node);
                refuse(&mut channel, Kind::Broken, &reason).await;
            }
        }
    }

    /// The job's part here, if the store says that both nodes have one.
    async fn admit(&self, from: &NodeName, asked: &Asked) -> Result<Arc<Member>, Refusal> {
        let uid = JobUid::new(&asked.job);
        let of = async |node: &NodeName| -> Result<Option<Allocation>, Refusal> {
            let found = get_json(&*self.store, &key::allocation(node, &uid)).await?;
            Ok(found.map(|entry| entry.value))
        };
        let (here, there) = tokio::try_join!(of(&self.node), of(from))?;
        let sides = [(&self.node, here), (from, there)];
        check(asked, sides).map_err(Refusal::Final)?;
        let prepared = self.members.prepared(&uid, asked.attempt);
        let member = tokio::time::timeout(CATCHING_UP_MAX, prepared).await;
        let member = member.map_err(|_| {
            Refusal::Later(
                "it has not seen yet that the job runs, or offers no remote start".into(),
            )
        })?;
        let mut gang = member.parts.gang.iter();
        if gang.any(|member| member.node == *from) {
            return Ok(member);
        }
        let reason = format!("node {from} is none of the nodes in its plan of the job");
        Err(Refusal::Final(reason))
    }
}

/// Whether the attempt runs on both nodes, by their allocations.
fn check(asked: &Asked, sides: [(&NodeName, Option<Allocation>); 2]) -> Result<(), String> {
    let Asked { job, attempt } = asked;
    for (node, allocation) in sides {
        let Some(allocation) = allocation else {
            return Err(format!("the job {job} does not run on node {node}"));
        };
        if allocation.attempt != *attempt {
            return Err(format!(
                "node {node} has attempt {} of the job {job}, not attempt {attempt}",
                allocation.attempt
            ));
        }
        match allocation.phase {
            AllocationPhase::Run => {}
            AllocationPhase::Prepare => return Err(super::member::PREPARING.into()),
            AllocationPhase::Stop => {
                return Err(format!("the job {job} is being ended on node {node}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lote_model::allocation::Grant;
    use lote_store::{EmbeddedOptions, EmbeddedStore, Transaction, Write};
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::agent::testing::job_path;

    /// A store in which the job `u1` has these parts.
    async fn starts(parts: &[(&str, u32, AllocationPhase)]) -> (tempfile::TempDir, RemoteStarts) {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path(), &EmbeddedOptions::default()).unwrap();
        for (node, attempt, phase) in parts {
            let uid = JobUid::new("u1");
            let allocation = Allocation {
                job: job_path(),
                uid: uid.clone(),
                attempt: *attempt,
                rank: 0,
                phase: *phase,
                grant: Grant {
                    exclusive: true,
                    gpus: vec![],
                    cpu_millis: 1000,
                    numa_nodes: Vec::new(),
                    memory_bytes: None,
                    processes_max: None,
                    ports: vec![],
                },
                granted_at: jiff::Timestamp::UNIX_EPOCH,
                boot_id: "b".into(),
            };
            let key = key::allocation(&NodeName::new(*node), &uid);
            let write = Write::put_json(key, &allocation).unwrap();
            store.commit(Transaction::new().write(write)).await.unwrap();
        }
        let starts = RemoteStarts {
            node: NodeName::new("b"),
            store: Arc::new(store),
            members: Arc::default(),
        };
        (folder, starts)
    }

    /// What node `from` is told that asks for attempt 2 of a job.
    async fn answer(starts: &RemoteStarts, from: &str, job: &str) -> (Kind, String) {
        let (mut ours, theirs) = tokio::io::duplex(1 << 16);
        let asked = Asked {
            job: job.into(),
            attempt: 2,
        };
        let start = Start {
            command: b"true".to_vec(),
            ..Start::default()
        };
        frames::write(&mut ours, Kind::Asked, &asked.encode())
            .await
            .unwrap();
        frames::write(&mut ours, Kind::Start, &start.encode())
            .await
            .unwrap();
        starts.serve(&NodeName::new(from), Box::new(theirs)).await;
        let (kind, text) = frames::read(&mut ours).await.unwrap().unwrap();
        // Nothing follows.
        let mut rest = Vec::new();
        ours.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
        (kind, String::from_utf8_lossy(&text).into_owned())
    }

    #[tokio::test]
    async fn only_nodes_on_which_the_attempt_runs_are_served() {
        use AllocationPhase::{Prepare, Run, Stop};
        type Part = (&'static str, u32, AllocationPhase);
        let cases: [(&[Part], &str, &str, &str); 7] = [
            // Another node of the cluster that has no part of the job.
            (&[("b", 2, Run)], "a", "u1", "does not run on node a"),
            // The asked one has none.
            (&[("a", 2, Run)], "a", "u1", "does not run on node b"),
            // Another job, or one that has ended.
            (
                &[("a", 2, Run), ("b", 2, Run)],
                "a",
                "u2",
                "the job u2 does not run",
            ),
            (
                &[("a", 1, Run), ("b", 2, Run)],
                "a",
                "u1",
                "node a has attempt 1",
            ),
            (
                &[("a", 2, Run), ("b", 3, Run)],
                "a",
                "u1",
                "node b has attempt 3",
            ),
            (
                &[("a", 2, Run), ("b", 2, Prepare)],
                "a",
                "u1",
                "still being prepared",
            ),
            (
                &[("a", 2, Stop), ("b", 2, Run)],
                "a",
                "u1",
                "is being ended on node a",
            ),
        ];
        for (parts, from, job, sentence) in cases {
            let (_folder, starts) = starts(parts).await;
            let (kind, reason) = answer(&starts, from, job).await;
            assert_eq!(kind, Kind::Refused, "{reason}");
            assert!(reason.contains(sentence), "{reason}");
            assert!(reason.starts_with("node b: "), "{reason}");
        }
    }

    #[tokio::test]
    async fn what_is_no_message_is_refused() {
        let (_folder, starts) = starts(&[]).await;
        let (mut ours, theirs) = tokio::io::duplex(1 << 10);
        frames::write(&mut ours, Kind::Hangup, &[]).await.unwrap();
        starts.serve(&NodeName::new("a"), Box::new(theirs)).await;
        let (kind, _) = frames::read(&mut ours).await.unwrap().unwrap();
        assert_eq!(kind, Kind::Refused);
    }
}
