//! Clients that are slow, idle, huge or restless: meanwhile others are answered
//! and the daemon's memory stays within a bound that each test states.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lote_tests::client::{Client, shell_job, shell_job_with};
use lote_tests::daemon::Daemon;
use lote_tests::processes::{open_files, resident_bytes};
use lote_tests::raw::{Connection, address, head};
use lote_tests::{PATIENCE, wait_for};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;

const MIB: u64 = 1 << 20;

/// How long anybody else may wait for an answer meanwhile, on a machine of two
/// cores that does other work as well.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A daemon whose jobs run whoever runs the tests.
fn daemon() -> Daemon {
    if nix::unistd::geteuid().is_root() {
        Daemon::start(&[])
    } else {
        Daemon::start(&["--isolation", "none"])
    }
}

/// Does `hostile` while another client reads and writes and while the daemon's
/// memory is watched: it may grow by `bound` bytes.
fn endured<T>(daemon: &Daemon, bound: u64, hostile: impl FnOnce() -> T) -> T {
    let client = daemon.client();
    let experiment = client.experiment("others");
    let before = resident_bytes(daemon.pid());
    let (over, peak) = (AtomicBool::new(false), AtomicU64::new(before));
    let result = std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut rounds = 0;
            while !over.load(Ordering::Relaxed) {
                use_politely(&client, &experiment);
                peak.fetch_max(resident_bytes(daemon.pid()), Ordering::Relaxed);
                rounds += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            rounds
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(hostile));
        over.store(true, Ordering::Relaxed);
        let rounds = others.join().expect("others are answered");
        assert!(rounds > 0, "others had a turn");
        result
    });
    let result = result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let peak = peak.into_inner().max(resident_bytes(daemon.pid()));
    println!(
        "memory: {} MiB before, {} MiB at most",
        before / MIB,
        peak / MIB
    );
    assert!(
        peak - before <= bound,
        "the daemon grew from {} to {} MiB",
        before / MIB,
        peak / MIB
    );
    result
}

fn use_politely(client: &Client, experiment: &str) {
    let start = Instant::now();
    let written = client.put(experiment, &json!({}));
    assert_eq!(written.status, 200, "{written:?}");
    let listed = client.get(&format!("{experiment}/jobs"));
    assert_eq!(listed.json, json!({"value": []}));
    let took = start.elapsed();
    assert!(took < ANSWER_LIMIT, "others waited {took:?}");
}

/// Clients of each slow kind.
const SLOW_CLIENTS: usize = 40;

/// Between two bytes of a slow client.
const BYTE_INTERVAL: Duration = Duration::from_millis(500);

/// How long a head may take, and half a minute for a busy machine.
const SLOW_LIMIT: Duration = Duration::from_secs(90);

/// The size of the answer that nobody reads: more than the kernel keeps.
const UNREAD_BYTES: usize = 64 << 20;

#[test]
fn slow_clients_are_sent_away_and_keep_nobody_waiting() {
    let daemon = daemon();
    let file = large_output(&daemon);
    let address = address(&daemon);
    let quiet = open_files(daemon.pid());
    endured(&daemon, 64 * MIB, || {
        let heads = slow_heads(address);
        let bodies = slow_bodies(address);
        let readers = readers_that_never_read(address, &file);
        drip(heads, bodies);
        wait_for("all of them to be sent away", PATIENCE, || {
            // The other client has at most one or two connections meanwhile.
            (open_files(daemon.pid()) <= quiet + 4).then_some(())
        });
        for mut reader in readers {
            let came = reader.read_to_end();
            assert!(came < UNREAD_BYTES, "the daemon waited: {came} bytes came");
        }
    });
}

/// The path and query of a link to a file that a job has written.
fn large_output(daemon: &Daemon) -> String {
    let client = daemon.client();
    let experiment = client.experiment("large");
    let command = format!("head -c {UNREAD_BYTES} /dev/zero");
    let job = client.submit(&experiment, "j", &shell_job(&command));
    assert_eq!(client.wait_for_end(&job)["executionState"], "succeeded");
    let listing = client.post(&format!(
        "{job}/listOutputFiles?outputdirectoryid=stdouterr"
    ));
    let files = listing.json["value"].as_array().unwrap();
    let file = files
        .iter()
        .find(|file| file["name"] == "stdout.txt")
        .unwrap();
    let link = file["downloadUrl"].as_str().unwrap();
    link.strip_prefix(&daemon.url()).unwrap().to_owned()
}

fn slow_heads(address: SocketAddr) -> Vec<Connection> {
    let open = |_| {
        let mut connection = Connection::open(address);
        assert!(connection.send("GET /readyz HTTP/1.1\r\nhost: lote\r\nx: "));
        connection
    };
    (0..SLOW_CLIENTS).map(open).collect()
}

fn slow_bodies(address: SocketAddr) -> Vec<Connection> {
    let path = "/v1/groups/default/workspaces/default/experiments/slow";
    let open = |_| {
        let mut connection = Connection::open(address);
        assert!(connection.send(head("PUT", path, &["content-length: 100000"])));
        connection
    };
    (0..SLOW_CLIENTS).map(open).collect()
}

fn readers_that_never_read(address: SocketAddr, file: &str) -> Vec<Connection> {
    let open = |_| {
        let mut connection = Connection::open(address);
        assert!(connection.send(head("GET", file, &[])));
        connection
    };
    (0..SLOW_CLIENTS).map(open).collect()
}

/// Sends a byte on each connection now and then, until the daemon has had enough
/// of all of them.
fn drip(mut heads: Vec<Connection>, mut bodies: Vec<Connection>) {
    let start = Instant::now();
    while !(heads.is_empty() && bodies.is_empty()) {
        assert!(
            start.elapsed() < SLOW_LIMIT,
            "{} slow heads and {} slow bodies are still welcome",
            heads.len(),
            bodies.len()
        );
        heads.retain_mut(|connection| !connection.is_ended() && connection.send("a"));
        bodies.retain_mut(|connection| {
            let goes_on = !connection.has_data() && connection.send(" ");
            if !goes_on {
                let answer = connection.answer();
                assert_eq!(answer.map(|answer| answer.status), Some(408));
            }
            goes_on
        });
        std::thread::sleep(BYTE_INTERVAL);
    }
}

const IDLE_CONNECTIONS: usize = 1_000;

#[test]
fn a_thousand_idle_connections_cost_little_and_end() {
    let daemon = with_the_usual_limit_of_open_files(daemon);
    let Some(()) = take_open_files(2 * IDLE_CONNECTIONS) else {
        crate::skip(
            "a_thousand_idle_connections_cost_little_and_end",
            "this process may not open 2,000 files",
        );
        return;
    };
    let address = address(&daemon);
    let start = Instant::now();
    endured(&daemon, 32 * MIB, || {
        let mut connections: Vec<_> = (0..IDLE_CONNECTIONS)
            .map(|_| Connection::open(address))
            .collect();
        // Every other one has asked something before it became idle.
        for connection in connections.iter_mut().step_by(2) {
            assert!(connection.send(head("GET", "/healthz", &[])));
            assert_eq!(connection.answer().map(|answer| answer.status), Some(200));
        }
        wait_for("all of them to be accepted", PATIENCE, || {
            (open_files(daemon.pid()) >= IDLE_CONNECTIONS).then_some(())
        });
        let ended = || connections.iter().all(Connection::is_ended);
        wait_for("idle connections to end", SLOW_LIMIT, || {
            ended().then_some(())
        });
    });
    println!("idle connections ended after {:?}", start.elapsed());
}

/// Starts something under the limit that shells and systemd give.
fn with_the_usual_limit_of_open_files(start: impl FnOnce() -> Daemon) -> Daemon {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 1_024.min(hard), hard).unwrap();
    let daemon = start();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    daemon
}

/// Lets this process open so many files; none if it may not.
fn take_open_files(count: usize) -> Option<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok()?;
    (hard >= count as u64).then_some(())
}

/// The body that is far too large.
const HUGE_BYTES: usize = 100_000_000;

/// How many send it at the same time.
const HUGE_CLIENTS: usize = 4;

#[test]
fn a_body_of_100_mb_is_refused_in_bounded_memory() {
    let daemon = daemon();
    let address = address(&daemon);
    let path = "/v1/groups/default/workspaces/default/experiments/huge";
    let length = format!("content-length: {HUGE_BYTES}");
    endured(&daemon, 64 * MIB, || {
        std::thread::scope(|scope| {
            for _ in 0..HUGE_CLIENTS {
                scope.spawn(|| send_huge(address, &head("PUT", path, &[&length]), false));
                scope.spawn(|| {
                    let chunked = head("PUT", path, &["transfer-encoding: chunked"]);
                    send_huge(address, &chunked, true);
                });
            }
        });
    });
    let mut polite = Connection::open(address);
    assert!(polite.send(head("PUT", path, &[&length, "expect: 100-continue"])));
    let answer = polite.answer().unwrap();
    assert_eq!(answer.status, 413, "without reading any of it");
    let missing = daemon.client().get(path);
    assert_eq!(missing.status, 404, "nothing was stored");
}

/// Sends the body, gets 413, and asks for something else on the same connection.
fn send_huge(address: SocketAddr, head_text: &str, chunked: bool) {
    let mut connection = Connection::open(address);
    assert!(connection.send(head_text));
    let part = vec![b' '; 1_000_000];
    for _ in 0..HUGE_BYTES / part.len() {
        let sent = if chunked {
            connection.send(format!("{:x}\r\n", part.len()))
                && connection.send(&part)
                && connection.send("\r\n")
        } else {
            connection.send(&part)
        };
        assert!(sent, "the body is taken to its end");
    }
    assert!(!chunked || connection.send("0\r\n\r\n"));
    let answer = connection.answer().expect("an answer to a huge body");
    assert_eq!(answer.status, 413, "{answer:?}");
    assert!(answer.body.contains("RequestBodyTooLarge") || answer.body.contains("TooLarge"));
    assert!(connection.send(head("GET", "/healthz", &[])));
    assert_eq!(connection.answer().map(|answer| answer.status), Some(200));
}

#[test]
fn heads_out_of_bounds_are_refused() {
    let daemon = daemon();
    let address = address(&daemon);
    endured(&daemon, 32 * MIB, || {
        for _ in 0..50 {
            let many: Vec<String> = (0..1_000).map(|n| format!("x-{n}: y")).collect();
            let many: Vec<&str> = many.iter().map(String::as_str).collect();
            assert_eq!(status_of(address, &head("GET", "/healthz", &many)), 431);
            let large = format!("x: {}", "y".repeat(1 << 20));
            assert_eq!(status_of(address, &head("GET", "/healthz", &[&large])), 431);
            let long = format!("/v1/{}", "y".repeat(1 << 20));
            let status = status_of(address, &head("GET", &long, &[]));
            assert!([414, 431].contains(&status), "{status}");
        }
        assert_eq!(status_of(address, "no request at all\r\n\r\n"), 400);
    });
}

fn status_of(address: SocketAddr, bytes: &str) -> u16 {
    let mut connection = Connection::open(address);
    // The daemon may hang up before it has all of it.
    connection.send(bytes);
    connection.answer().map_or(0, |answer| answer.status)
}

const PIPELINED: usize = 1_000;

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let daemon = daemon();
    let address = address(&daemon);
    let path = |number| format!("/v1/groups/default/workspaces/default/experiments/e{number}");
    endured(&daemon, 32 * MIB, || {
        let mut connection = Connection::open(address);
        let requests: String = (0..PIPELINED)
            .map(|number| head("GET", &path(number), &[]))
            .collect();
        assert!(connection.send(requests));
        for number in 0..PIPELINED {
            let answer = connection.answer().expect("an answer for every request");
            assert_eq!(answer.status, 404);
            let name = format!(" e{number} ");
            assert!(answer.body.contains(&name), "{name}: {}", answer.body);
        }
    });
}

const RECONNECTS: usize = 10_000;

/// How many reconnect at the same time.
const WATCHERS: usize = 50;

#[test]
fn ten_thousand_reconnects_of_an_event_stream_leave_nothing_behind() {
    let daemon = daemon();
    let address = address(&daemon);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let job = shell_job_with("echo up; sleep 1000", json!({"gracePeriod": "PT1S"}));
    let job = client.submit(&experiment, "j", &job);
    client.wait_for_state(&job, "running");
    let events = format!("{job}/events");
    let history = history(address, &events);
    assert!(history.len() > 1, "{history:?}");
    let quiet = open_files(daemon.pid());
    // What the first half needs, the second finds: a little more would be a leak.
    for bound in [64 * MIB, 16 * MIB] {
        endured(&daemon, bound, || {
            reconnect(address, &events, &history, RECONNECTS / 2);
        });
    }
    wait_for("all streams to be given up", PATIENCE, || {
        (open_files(daemon.pid()) <= quiet + 4).then_some(())
    });
    let last = *history.last().unwrap();
    client.post(&format!("{job}/terminate"));
    client.wait_for_end(&job);
    let mut connection = open_stream(address, &events, last);
    let rest = connection.read_until("\r\n0\r\n").expect("the stream ends");
    assert!(rest.contains("JobTerminated"), "{rest}");
    assert!(ids(&rest).iter().all(|id| *id > last), "{rest}");
}

/// Watchers come back so many times, all together, each after another event.
fn reconnect(address: SocketAddr, events: &str, history: &[u64], times: usize) {
    std::thread::scope(|scope| {
        for watcher in 0..WATCHERS {
            scope.spawn(move || {
                for round in 0..times / WATCHERS {
                    resume(address, events, history, (watcher + round) % history.len());
                }
            });
        }
    });
}

/// The ids of all that happened to the job so far, each once.
fn history(address: SocketAddr, events: &str) -> Vec<u64> {
    let mut connection = open_stream(address, events, 0);
    connection.set_patience(Duration::from_secs(1));
    let mut seen = Vec::new();
    while let Some(event) = connection.read_until("\n\n") {
        seen.extend(ids(&event));
    }
    seen.dedup();
    seen
}

/// Comes back after the event at `place`: the next one must be the first.
fn resume(address: SocketAddr, events: &str, history: &[u64], place: usize) {
    let mut connection = open_stream(address, events, history[place]);
    let Some(next) = history.get(place + 1) else {
        return;
    };
    let event = connection.read_until("\n\n").expect("an event");
    assert_eq!(ids(&event), [*next], "after {}: {event}", history[place]);
}

fn open_stream(address: SocketAddr, events: &str, after: u64) -> Connection {
    let mut connection = Connection::open(address);
    let cursor = format!("last-event-id: {after}");
    assert!(connection.send(head("GET", events, &[&cursor])));
    let head = connection.read_until("\r\n\r\n").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    connection
}

fn ids(events: &str) -> Vec<u64> {
    let numbers = events.lines().filter_map(|line| line.strip_prefix("id: "));
    numbers.filter_map(|id| id.trim().parse().ok()).collect()
}
