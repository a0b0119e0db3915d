//! Several daemons over one store, each with the files of its own node: whichever
//! is asked answers.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use lote_api::{ApiConfig, ApiState, PeerCredentials, open_channel};
use lote_model::allocation::{GangMember, NodePlan};
use lote_model::id::NodeName;
use lote_model::job::{JobRecord, JobStatus, STDOUTERR};
use lote_model::key;
use lote_model::report::{Report, ReportPhase};
use lote_store::Transaction;
use lote_vault::{Authority, AuthorityRecord, SealingKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::daemon::{Daemon, Fake, job_url, location, running, succeeded, wait_until};
use crate::live::{Live, two_processes};
use crate::resources::node_record;

fn authority(key: u8) -> Authority {
    let key = SealingKey::new([key; 32]);
    let record = AuthorityRecord::make(&key, "a", "c", SystemTime::now()).unwrap();
    record.open(&key, "a").unwrap()
}

fn credentials(authority: &Authority, node: &str) -> PeerCredentials {
    let made = authority.certify(node, &[], SystemTime::now()).unwrap();
    PeerCredentials::from_pem(
        authority.certificate(),
        &made.certificate,
        &made.private_key,
    )
    .unwrap()
}

/// The daemons of the nodes `one` and `two`, and a gang `j` that runs on both. Each
/// node has told where its own directories are.
pub(crate) struct Pair {
    pub(crate) one: Daemon,
    pub(crate) two: Daemon,
    authority: Arc<Authority>,
    record: JobRecord,
}

/// Where the standard output of the job lies on a daemon's node.
fn output_of(daemon: &Daemon) -> PathBuf {
    daemon.folder.path().join("out")
}

impl Pair {
    pub(crate) fn start() -> Self {
        let authority = Arc::new(authority(1));
        let configure = |node: &'static str| {
            let authority = authority.clone();
            move |config: &mut lote_api::ApiConfig| {
                config.node = NodeName::new(node);
                config.peers = Some(credentials(&authority, node));
            }
        };
        let one = Daemon::start_configured(configure("one"));
        let two = Daemon::beside(&one, configure("two"));
        one.furnish();
        let record = one.submit("j");
        one.set_status(&running(&record, one.now()), "j");
        let pair = Self {
            one,
            two,
            authority,
            record,
        };
        for (rank, daemon) in (0..).zip([&pair.one, &pair.two]) {
            let name = pair.name_of(daemon);
            pair.register(name, daemon.peer_address.unwrap());
            fs::create_dir_all(output_of(daemon)).unwrap();
            pair.report(daemon, rank);
            pair.one
                .write(&key::plan(&pair.record.uid, 1, rank), &pair.plan(rank));
        }
        pair
    }

    fn name_of(&self, daemon: &Daemon) -> &'static str {
        if daemon.address == self.one.address {
            "one"
        } else {
            "two"
        }
    }

    fn register(&self, name: &str, address: SocketAddr) {
        let mut record = node_record(name, false);
        record["peerAddress"] = json!(address.to_string());
        self.one.write(&key::node(&NodeName::new(name)), &record);
    }

    fn report(&self, daemon: &Daemon, rank: u32) {
        let node = self.name_of(daemon);
        let report = Report {
            uid: self.record.uid.clone(),
            node: NodeName::new(node),
            attempt: 1,
            rank,
            phase: ReportPhase::Prepared,
            directories: vec![location(STDOUTERR, node, &output_of(daemon))],
            at: self.one.now(),
        };
        self.one.write(
            &key::report(&self.record.uid, &NodeName::new(node)),
            &report,
        );
    }

    /// One process per node.
    fn plan(&self, rank: u32) -> NodePlan {
        let mut plan = two_processes(&self.record);
        let member = |node: &str| GangMember {
            node: NodeName::new(node),
            address: node.into(),
        };
        plan.rank = rank;
        plan.gang = vec![member("one"), member("two")];
        let mut process = plan.launch.processes[rank as usize].clone();
        process.node = rank;
        plan.launch.processes = vec![process];
        plan
    }

    fn both(&self) -> [&Daemon; 2] {
        [&self.one, &self.two]
    }
}

fn list(daemon: &Daemon, query: &str) -> Value {
    let query = format!("outputdirectoryid=stdouterr{query}");
    let url = format!("{}/listOutputFiles?{query}", job_url("j"));
    daemon.post(&url).expect(200)
}

fn logs(query: &str) -> String {
    format!("{}/logs?{query}", job_url("j"))
}

fn names(page: &Value) -> Vec<&str> {
    let files = page["value"].as_array().unwrap().iter();
    files.map(|file| file["name"].as_str().unwrap()).collect()
}

#[test]
fn every_daemon_lists_and_reads_the_files_of_all_nodes() {
    let pair = Pair::start();
    fs::write(output_of(&pair.one).join("stdout-0.txt"), "zero").unwrap();
    fs::write(output_of(&pair.two).join("stdout-1.txt"), "0123456789").unwrap();
    for daemon in pair.both() {
        let page = list(daemon, "");
        assert_eq!(names(&page), ["stdout-0.txt", "stdout-1.txt"]);
        let url = |at: usize| page["value"][at]["downloadUrl"].as_str().unwrap();
        // Links lead to the daemon that was asked.
        assert!(url(0).starts_with(&daemon.url("/files/")), "{page}");
        assert!(url(1).starts_with(&daemon.url("/files/")), "{page}");
        assert_eq!(daemon.get(url(0)).text(), "zero");
        let whole = daemon.get(url(1));
        assert_eq!((whole.status, whole.text()), (200, "0123456789"));
        assert_eq!(whole.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(whole.header("accept-ranges"), "bytes");
        let part = daemon.request("GET", url(1), &[("range", "bytes=2-4")], b"");
        assert_eq!((part.status, part.text()), (206, "234"));
        assert_eq!(part.header("content-range"), "bytes 2-4/10");
        let none = daemon.request("GET", url(1), &[("range", "bytes=10-")], b"");
        none.expect_error(416, "InvalidRange");
        assert_eq!(none.header("content-range"), "bytes */10");
        let head = daemon.request("HEAD", url(1), &[], b"");
        assert_eq!((head.status, head.header("content-length")), (200, "10"));
        assert_eq!(daemon.get(&logs("process=rank-1")).text(), "0123456789");
        assert_eq!(daemon.get(&logs("process=0")).text(), "zero");
        assert_eq!(daemon.get(&logs("file=stdout-1.txt")).text(), "0123456789");
        daemon
            .get(&logs("process=rank-1&stream=stderr"))
            .expect_error(404, "FileNotFound");
    }
    // A link that one daemon made opens at the other, too.
    let page = list(&pair.one, "");
    let url = page["value"][1]["downloadUrl"].as_str().unwrap();
    let elsewhere = url.replace(&pair.one.url(""), &pair.two.url(""));
    assert_eq!(pair.two.get(&elsewhere).text(), "0123456789");
}

#[test]
fn a_file_that_no_plan_names_is_looked_for_on_all_nodes() {
    let pair = Pair::start();
    fs::create_dir(output_of(&pair.two).join("deep")).unwrap();
    fs::write(output_of(&pair.two).join("deep/own.csv"), "1,2").unwrap();
    for daemon in pair.both() {
        assert_eq!(daemon.get(&logs("file=deep/own.csv")).text(), "1,2");
        daemon
            .get(&logs("file=deep/none"))
            .expect_error(404, "FileNotFound");
        assert_eq!(names(&list(daemon, "&directory=deep")), ["own.csv"]);
    }
}

#[test]
fn pages_go_through_the_files_of_all_nodes() {
    let pair = Pair::start();
    for number in 0..7 {
        let daemon = if number % 3 == 0 {
            &pair.one
        } else {
            &pair.two
        };
        fs::write(output_of(daemon).join(format!("f{number}")), "x").unwrap();
    }
    for daemon in pair.both() {
        let mut page = list(daemon, "&maxresults=2");
        let mut seen: Vec<String> = Vec::new();
        loop {
            assert!(names(&page).len() <= 2);
            seen.extend(names(&page).into_iter().map(str::to_owned));
            match page["nextLink"].as_str() {
                Some(next) => page = daemon.post(next).expect(200),
                None => break,
            }
        }
        assert_eq!(seen, ["f0", "f1", "f2", "f3", "f4", "f5", "f6"]);
    }
}

#[test]
fn large_files_come_whole() {
    let pair = Pair::start();
    let content: Vec<u8> = (0..3_000_000_u32)
        .map(|index| (index % 251) as u8)
        .collect();
    fs::write(output_of(&pair.two).join("stdout-1.txt"), &content).unwrap();
    let page = list(&pair.one, "");
    let url = page["value"][0]["downloadUrl"].as_str().unwrap();
    assert_eq!(pair.one.get(url).bytes, content);
}

#[test]
fn followed_output_streams_through() {
    let pair = Pair::start();
    // From before the file is there, until the job is over.
    let mut live = Live::open(&pair.one, &logs("follow=true&process=rank-1"), "");
    let mut file = File::create(output_of(&pair.two).join("stdout-1.txt")).unwrap();
    file.write_all(b"first\n").unwrap();
    assert_eq!(live.bytes(6), "first\n");
    file.write_all(b"second\n").unwrap();
    assert_eq!(live.bytes(7), "second\n");
    file.write_all(b"last\n").unwrap();
    pair.one
        .set_status(&succeeded(&pair.record, pair.one.now()), "j");
    assert_eq!(live.rest(), "last\n");
}

#[test]
fn output_is_followed_from_before_the_job_has_a_node() {
    let pair = Pair::start();
    let reports = key::reports_of(&pair.record.uid);
    let plans = key::plans_of(&pair.record.uid);
    pair.one.commit(
        Transaction::new()
            .delete_prefix(reports)
            .delete_prefix(plans),
    );
    let mut live = Live::open(&pair.one, &logs("follow=true"), "");
    fs::write(output_of(&pair.two).join("stdout-1.txt"), "hello\n").unwrap();
    let mut plan = pair.plan(1);
    plan.rank = 0;
    plan.gang.remove(0);
    plan.launch.processes[0].node = 0;
    pair.one.write(&key::plan(&pair.record.uid, 1, 0), &plan);
    pair.report(&pair.two, 0);
    assert_eq!(live.bytes(6), "hello\n");
    pair.one
        .set_status(&succeeded(&pair.record, pair.one.now()), "j");
    assert_eq!(live.rest(), "");
}

/// How many connections end at an address of this machine.
fn connections_to(address: SocketAddr) -> usize {
    let port = format!(":{:04X}", address.port());
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let established = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().is_some_and(|local| local.ends_with(&port));
        local && fields.nth(1) == Some("01")
    };
    table.lines().skip(1).filter(established).count()
}

#[test]
fn a_client_that_goes_away_ends_the_request_to_the_peer() {
    let pair = Pair::start();
    fs::write(output_of(&pair.two).join("stdout-1.txt"), "x").unwrap();
    let peer = pair.two.peer_address.unwrap();
    let mut live = Live::open(&pair.one, &logs("follow=true&process=rank-1"), "");
    assert_eq!(live.bytes(1), "x");
    assert_eq!(connections_to(peer), 1);
    drop(live);
    wait_until("the peer is left alone", || connections_to(peer) == 0);
}

#[test]
fn a_silent_node_is_named_and_hides_nothing_else() {
    let mut pair = Pair::start();
    fs::write(output_of(&pair.one).join("stdout-0.txt"), "zero").unwrap();
    fs::write(output_of(&pair.two).join("stdout-1.txt"), "one").unwrap();
    let page = list(&pair.one, "");
    let far = page["value"][1]["downloadUrl"].as_str().unwrap().to_owned();
    pair.two.stop();
    let named = |error: &Value| error["message"].as_str().unwrap().contains("node two");
    let error = pair.one.get(&far).expect_error(502, "NodeUnreachable");
    assert!(named(&error), "{error}");
    for query in ["process=rank-1", "process=rank-1&follow=true", "file=other"] {
        let error = pair
            .one
            .get(&logs(query))
            .expect_error(502, "NodeUnreachable");
        assert!(named(&error), "{error}");
    }
    let url = format!(
        "{}/listOutputFiles?outputdirectoryid=stdouterr",
        job_url("j")
    );
    let rest = pair.one.post(&url);
    assert_eq!(names(&rest.expect(200)), ["stdout-0.txt"]);
    assert_eq!(rest.header("lote-unreachable-nodes"), "two");
    // What lies nowhere else is missing altogether.
    let reports = Transaction::new().delete(key::report(&pair.record.uid, &NodeName::new("one")));
    pair.one.commit(reports);
    pair.one.post(&url).expect_error(502, "NodeUnreachable");
    // A node that says nothing is not waited for for long.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    pair.register("two", silent.local_addr().unwrap());
    let start = Instant::now();
    pair.one.post(&url).expect_error(502, "NodeUnreachable");
    assert!(start.elapsed() < Duration::from_secs(15));
    // It is back.
    pair.two.restart();
    pair.register("two", pair.two.peer_address.unwrap());
    assert_eq!(names(&pair.one.post(&url).expect(200)), ["stdout-1.txt"]);
    assert_eq!(pair.one.get(&far).text(), "one");
}

#[test]
fn after_its_end_a_jobs_files_are_found_where_the_leader_says() {
    let pair = Pair::start();
    fs::write(output_of(&pair.one).join("stdout-0.txt"), "zero").unwrap();
    fs::write(output_of(&pair.two).join("stdout-1.txt"), "one").unwrap();
    pair.one
        .commit(Transaction::new().delete_prefix(key::reports_of(&pair.record.uid)));
    let ended = JobStatus {
        directories: vec![
            location(STDOUTERR, "one", &output_of(&pair.one)),
            location(STDOUTERR, "two", &output_of(&pair.two)),
        ],
        ..succeeded(&pair.record, pair.one.now())
    };
    pair.one.set_status(&ended, "j");
    for daemon in pair.both() {
        assert_eq!(names(&list(daemon, "")), ["stdout-0.txt", "stdout-1.txt"]);
        assert_eq!(daemon.get(&logs("follow=true&process=1")).text(), "one");
    }
}

/// Sends a request to a peer door; what came back, or why nothing did.
fn knock(
    address: SocketAddr,
    authority: &Authority,
    shown: Option<(&str, &str)>,
    request: &str,
) -> Result<String, String> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap();
    roots.add(root).unwrap();
    let config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
    let config = match shown {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let name = ServerName::try_from("two").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut stream = StreamOwned::new(connection, socket);
    let head = format!("{request} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    stream
        .write_all(head.as_bytes())
        .map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    if answer.is_empty() {
        return Err(read
            .err()
            .map_or("nothing".into(), |error| error.to_string()));
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn the_peer_door_opens_for_nodes_of_the_cluster_only() {
    let pair = Pair::start();
    fs::write(output_of(&pair.two).join("stdout-1.txt"), "one").unwrap();
    let door = pair.two.peer_address.unwrap();
    let uid = &pair.record.uid;
    let read = format!(
        "GET /peer/v1/jobs/lab/ws/e/j/logs?uid={uid}&directory=stdouterr&file=stdout-1.txt"
    );
    let member = pair
        .authority
        .certify("one", &[], SystemTime::now())
        .unwrap();
    let shown = Some((member.certificate.as_str(), member.private_key.as_str()));
    let answer = knock(door, &pair.authority, shown, &read).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("one"),
        "{answer}"
    );
    // Without a certificate, or with one of another cluster, there is no conversation.
    knock(door, &pair.authority, None, &read).unwrap_err();
    let stranger = authority(2).certify("one", &[], SystemTime::now()).unwrap();
    let forged = Some((stranger.certificate.as_str(), stranger.private_key.as_str()));
    knock(door, &pair.authority, forged, &read).unwrap_err();
    let old = SystemTime::now() - Duration::from_hours(60 * 24);
    let expired = pair.authority.certify("one", &[], old).unwrap();
    let expired = Some((expired.certificate.as_str(), expired.private_key.as_str()));
    knock(door, &pair.authority, expired, &read).unwrap_err();
    // A node that nobody knows, or that was removed.
    let removed = pair
        .authority
        .certify("gone", &[], SystemTime::now())
        .unwrap();
    let removed = Some((removed.certificate.as_str(), removed.private_key.as_str()));
    let answer = knock(door, &pair.authority, removed, &read).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 401") && answer.contains("PeerRefused"),
        "{answer}"
    );
    // Few things can be asked for, and none of the API.
    for request in [
        "GET /v1/nodes",
        "GET /v1/tokens",
        "GET /healthz",
        "PUT /v1/groups/x",
        "POST /v1/join",
        "GET /peer/v1/jobs",
    ] {
        let answer = knock(door, &pair.authority, shown, request).unwrap();
        assert!(answer.starts_with("HTTP/1.1 401"), "{request}: {answer}");
    }
    // Not what lies outside, nor of another job, nor on another node.
    for (request, status) in [
        (read.replace("stdout-1.txt", "../x"), "400"),
        (read.replace(&format!("uid={uid}"), "uid=other"), "404"),
        (read.replace("stdouterr", "none"), "400"),
    ] {
        let answer = knock(door, &pair.authority, shown, &request).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request}: {answer}"
        );
    }
}

#[test]
fn a_request_of_a_peer_goes_no_further() {
    let pair = Pair::start();
    fs::write(output_of(&pair.one).join("stdout-0.txt"), "zero").unwrap();
    let door = pair.two.peer_address.unwrap();
    let member = pair
        .authority
        .certify("one", &[], SystemTime::now())
        .unwrap();
    let shown = Some((member.certificate.as_str(), member.private_key.as_str()));
    let jobs = "GET /peer/v1/jobs/lab/ws/e/j";
    let uid = &pair.record.uid;
    let list = format!("{jobs}/files?uid={uid}&directory=stdouterr&below=.&maxresults=9");
    let answer = knock(door, &pair.authority, shown, &list).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && !answer.contains("stdout-0"),
        "{answer}"
    );
    let page = self::list(&pair.one, "");
    let url = page["value"][0]["downloadUrl"].as_str().unwrap();
    let link = url.strip_prefix(&pair.one.url("")).unwrap();
    let answer = knock(door, &pair.authority, shown, &format!("GET /peer/v1{link}")).unwrap();
    assert!(answer.contains("FilesOnOtherNode"), "{answer}");
    // Only `two` has told where its directory is, and this is asked of `one`.
    let report = key::report(&pair.record.uid, &NodeName::new("one"));
    pair.one.commit(Transaction::new().delete(report));
    let read = format!("{jobs}/logs?uid={uid}&directory=stdouterr&file=stdout-1.txt");
    let door = pair.one.peer_address.unwrap();
    // The certificate of `one` has another name than the one that is expected.
    knock(door, &pair.authority, shown, &read).unwrap_err();
}

#[test]
fn a_connection_between_daemons_becomes_a_channel_that_knows_who_asks() {
    let pair = Pair::start();
    let of = |node: &str, key: u8| {
        let mut config = ApiConfig::new(NodeName::new(node), [7; 32]);
        config.peers = Some(match key {
            1 => credentials(&pair.authority, node),
            _ => credentials(&authority(key), node),
        });
        let clock = Arc::new(jiff::Timestamp::now);
        ApiState::new(pair.one.store.clone(), Arc::new(Fake), config, clock)
    };
    let two = NodeName::new("two");
    pair.one.runtime.block_on(async {
        let mut channel = open_channel(&of("one", 1), &two).await.unwrap();
        channel.write_all(b"to and fro").await.unwrap();
        let mut bytes = vec![0; 14];
        channel.read_exact(&mut bytes).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes), "one\nto and fro");
        channel.shutdown().await.unwrap();
        // Neither a machine of another cluster nor one that was removed gets a channel.
        for (state, why) in [
            (of("one", 2), "cannot be reached"),
            (of("gone", 1), "does not let this one in"),
        ] {
            let reason = open_channel(&state, &two).await.err().unwrap();
            assert!(reason.contains(why), "{reason}");
        }
        let nowhere = open_channel(&of("one", 1), &NodeName::new("none")).await;
        let reason = nowhere.err().unwrap();
        assert!(reason.contains("not in the cluster"), "{reason}");
    });
}
