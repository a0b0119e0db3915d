//! Whether anybody's writes can be accepted now.
//!
//! A node that cannot renew its lease must stop its jobs, unless it is certain that nobody else
//! can give them away either. Certain means: a majority of all members of etcd refuses
//! connections, or answers and knows no leader. Silence proves nothing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::Client;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::members::{Member, Members, Repeat};

/// How long a member has for its answer. Enough for a healthy one; for the others it must be
/// short, because those who ask have jobs to stop.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// How often the members are counted.
const COUNT_EVERY: Duration = Duration::from_mins(1);

/// How long to wait after a count that failed.
const COUNT_AGAIN: Duration = Duration::from_secs(1);

/// How many members there are, as far as known.
#[derive(Default)]
pub(super) struct Size {
    /// Members with a vote, once known; else 0.
    voters: AtomicUsize,
}

impl Size {
    /// Counts the members for ever. The operator may have named only some of them.
    pub(super) async fn keep_counting(&self, members: &Members) {
        let mut warned = false;
        loop {
            let ask = |mut client: Client| async move { client.member_list().await };
            let answer = members.call(PROBE_LIMIT, Repeat::Harmless, ask).await;
            let pause = match answer {
                Ok(list) => {
                    let voters = list.members().iter().filter(|member| !member.is_learner());
                    let voters = voters.count();
                    self.voters.store(voters, Ordering::Relaxed);
                    let named = members.all().len();
                    if named < voters && !warned {
                        warned = true;
                        tracing::warn!(
                            named,
                            members = voters,
                            "not every member of etcd is named: name all, so that the daemon finds those that are well"
                        );
                    }
                    COUNT_EVERY
                }
                Err(failure) => {
                    tracing::debug!(error = %failure.error, "the members of etcd cannot be counted");
                    COUNT_AGAIN
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Whether a majority of all members is certainly without use now.
    pub(super) async fn is_lost(&self, members: &Arc<Members>) -> bool {
        let voters = self.voters.load(Ordering::Relaxed);
        if voters == 0 {
            return false;
        }
        let mut probes = JoinSet::new();
        for place in 0..members.all().len() {
            let members = Arc::clone(members);
            probes.spawn(async move { is_useless(&members.all()[place]).await });
        }
        let answers = probes.join_all().await;
        let useless = answers.into_iter().filter(|useless| *useless).count();
        is_majority(useless, voters.max(members.all().len()))
    }
}

fn is_majority(useless: usize, members: usize) -> bool {
    useless * 2 > members
}

/// Whether this member certainly cannot take part in a majority now.
async fn is_useless(member: &Member) -> bool {
    let probe = async {
        // A connection of its own: the error of an older one may be of yesterday.
        match TcpStream::connect(&member.address).await {
            Ok(_) => knows_no_leader(member.client.clone()).await,
            Err(error) => error.kind() == io::ErrorKind::ConnectionRefused,
        }
    };
    tokio::time::timeout(PROBE_LIMIT, probe)
        .await
        .unwrap_or(false)
}

async fn knows_no_leader(mut client: Client) -> bool {
    match client.status().await {
        Ok(status) => status.leader() == 0,
        Err(etcd_client::Error::GRpcStatus(status)) => status.message() == "etcdserver: no leader",
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_is_no_majority() {
        assert!(is_majority(1, 1));
        assert!(!is_majority(1, 2));
        assert!(!is_majority(1, 3));
        assert!(is_majority(2, 3));
        assert!(!is_majority(2, 4));
        assert!(is_majority(3, 5));
    }
}
