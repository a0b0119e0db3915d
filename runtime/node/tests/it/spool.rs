//! Output of jobs whose file system is away: real mounts that hang, are full, or are not there.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lote_model::allocation::AllocationPhase::Run;
use lote_model::report::Outcome;
use lote_model::state::ExecutionState;
use lote_node::SpoolConfig;

use crate::host::{Host, TestJob, gone, on_host};
use crate::support::{Test, cgroup_test, frozen_disk_test, mount_disk, until};

pub const TESTS: &[Test] = &[
    cgroup_test("spool::output_arrives_while_it_is_written", arrives),
    frozen_disk_test("spool::a_file_server_that_hangs_stalls_nobody", hangs),
    cgroup_test("spool::daemons_that_are_killed_lose_nothing", killed),
    cgroup_test("spool::the_next_attempt_appends", attempts),
    frozen_disk_test("spool::what_is_too_much_is_dropped_and_told_of", too_much),
    cgroup_test("spool::a_full_destination_is_waited_for", full),
    frozen_disk_test("spool::late_output_is_an_error_and_arrives", late),
    cgroup_test("spool::a_job_that_others_have_is_left_alone", withdrawn),
    cgroup_test("spool::what_has_arrived_takes_no_space", freed),
    cgroup_test("spool::a_job_may_empty_its_output", emptied),
    cgroup_test("spool::the_last_lines_are_in_the_error", last_lines),
    cgroup_test("spool::what_others_write_there_stays", others),
    cgroup_test("spool::a_full_disk_here_is_told_to_the_process", full_here),
];

/// What stands in for a file server: a file system that can be frozen or full. Jobs see it bound
/// at their mount points; what it has is read where it is mounted itself.
struct Server {
    root: PathBuf,
    bound: Vec<PathBuf>,
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Server {
    /// In memory, of this size.
    fn in_memory(host: &Host, size: &str) -> Self {
        let server = Self::at(host);
        let options = format!("size={size},mode=1777");
        run(
            "mount",
            &["-t", "tmpfs", "-o", &options, "server", text(&server.root)],
        );
        server
    }

    /// On a disk of its own, so that it can hang.
    fn on_disk(host: &Host) -> Self {
        let server = Self::at(host);
        assert!(mount_disk(&host.place("disk"), &server.root));
        fs::set_permissions(&server.root, fs::Permissions::from_mode(0o1777)).unwrap();
        server
    }

    fn at(host: &Host) -> Self {
        let root = host.place("server");
        fs::create_dir(&root).unwrap();
        Self {
            root,
            bound: Vec::new(),
        }
    }

    /// A job whose output lies there.
    fn job(&self, script: &str) -> TestJob {
        TestJob::mounted(script, &format!("mount --bind {}", text(&self.root)))
    }

    /// Leaves no room on one in memory.
    fn fill(&self) {
        // As much as there is room for.
        let _full = fs::write(self.root.join("fill"), vec![0; 1 << 20]);
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        run("mount", &["-o", &options, text(&self.root)]);
    }

    fn freeze(&self) {
        run("fsfreeze", &["-f", text(&self.root)]);
    }

    fn thaw(&self) {
        run("fsfreeze", &["-u", text(&self.root)]);
    }

    fn file(&self, job: &TestJob, name: &str) -> PathBuf {
        let directory = self.root.join(job.uid.as_str()).join("stdouterr");
        directory.join(name)
    }

    fn contents(&self, job: &TestJob, name: &str) -> String {
        let bytes = fs::read(self.file(job, name)).unwrap_or_default();
        String::from_utf8(bytes).unwrap()
    }

    /// Waits until a file has this.
    async fn has(&self, job: &TestJob, name: &str, contents: &str) {
        until(|| (self.contents(job, name) == contents).then_some(())).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Most are not frozen.
        let _frozen = Command::new("fsfreeze")
            .args(["-u", text(&self.root)])
            .output();
        for point in self.bound.iter().chain([&self.root]).rev() {
            let _mounted = Command::new("umount").args(["-l", text(point)]).output();
        }
    }
}

/// What a job prints that counts to `last`.
fn counted(last: u32) -> String {
    let lines: Vec<String> = (1..=last).map(|number| number.to_string()).collect();
    lines.join("\n") + "\n"
}

const WAIT_FOR_GO: &str = "while [ ! -e go ]; do sleep 0.02; done";

fn go(host: &Host, job: &TestJob) {
    fs::write(host.scratch(job, "go"), "").unwrap();
}

fn arrives() {
    on_host(async |host| {
        let server = Server::in_memory(&host, "16M");
        let data = host.data();
        let job = server.job(&format!(
            "ls {}/spool 2>/dev/null; echo first; echo error >&2; {WAIT_FOR_GO}; seq 1 2000",
            text(&data)
        ));
        let _daemon = host.start();
        host.allocate(&job, Run).await;
        // And the job was not even shown where its output waits.
        server.has(&job, "stdout.txt", "first\n").await;
        server.has(&job, "stderr.txt", "error\n").await;
        go(&host, &job);
        assert_eq!(host.end(&job).await, Outcome::Completed);
        let expected = format!("first\n{}", counted(2000));
        assert_eq!(server.contents(&job, "stdout.txt"), expected);
        let log = server.contents(&job, "execution.log");
        assert!(log.contains("exited with code 0"), "{log}");
        let about = fs::metadata(server.file(&job, "stdout.txt")).unwrap();
        let above = fs::metadata(server.root.join(job.uid.as_str())).unwrap();
        assert_eq!((about.mode() & 0o777, above.mode() & 0o777), (0o644, 0o755));
        assert!(about.uid() == above.uid() && about.uid() != 0);
        assert!(!host.spool(&job).exists());
    });
}

fn hangs() {
    on_host(async |host| {
        let server = Server::on_disk(&host);
        let job = server.job(&format!(
            "echo $$ > pid; echo first; {WAIT_FOR_GO}; seq 1 100000; echo > done"
        ));
        let _daemon = host.start();
        host.allocate(&job, Run).await;
        server.has(&job, "stdout.txt", "first\n").await;
        let main = until(|| fs::read_to_string(host.scratch(&job, "pid")).ok()).await;
        server.freeze();
        go(&host, &job);
        gone(nix::unistd::Pid::from_raw(main.trim().parse().unwrap())).await;
        // Longer than anything takes that does not wait for the server.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let report = host.last_report(&job).await;
        let phase = format!("{:?}", report.map(|report| report.phase));
        assert!(!phase.contains("Ended"), "{phase}");
        server.thaw();
        assert_eq!(host.end(&job).await, Outcome::Completed);
        let expected = format!("first\n{}", counted(100_000));
        assert!(server.contents(&job, "stdout.txt") == expected);
        assert!(!host.spool(&job).exists());
    });
}

fn killed() {
    on_host(async |host| {
        let server = Server::in_memory(&host, "64M");
        let job = server.job(
            "i=0; while [ $i -lt 200 ]; do i=$((i+1)); seq $(((i-1)*1000+1)) $((i*1000)); \
             sleep 0.01; done",
        );
        let mut daemon = host.start();
        host.allocate(&job, Run).await;
        let mut seen = 0;
        for _ in 0..6 {
            // Whenever some more has arrived.
            let length = || fs::metadata(server.file(&job, "stdout.txt")).map_or(0, |is| is.len());
            seen = until(|| Some(length()).filter(|length| *length > seen)).await;
            daemon.kill();
            daemon = host.start();
        }
        assert_eq!(host.end(&job).await, Outcome::Completed);
        assert!(server.contents(&job, "stdout.txt") == counted(200_000));
        daemon.kill();
    });
}

fn attempts() {
    on_host(async |host| {
        let server = Server::in_memory(&host, "16M");
        let _daemon = host.start();
        let first = server.job("echo one; exit 0");
        let second = TestJob {
            script: "echo two".into(),
            ..first.next("")
        };
        for job in [&first, &second] {
            host.allocate(job, Run).await;
            assert_eq!(host.end(job).await, Outcome::Completed);
        }
        assert_eq!(server.contents(&second, "stdout.txt"), "one\ntwo\n");
    });
}

/// How many bytes the notices in an output say are missing.
fn dropped(output: &str) -> usize {
    let notices = output.lines().filter_map(|line| {
        let (bytes, _) = line
            .strip_prefix("[lote: ")?
            .split_once(" bytes of output")?;
        bytes.parse::<usize>().ok()
    });
    notices.sum()
}

fn space_of(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.metadata().map_or(0, |is| is.blocks() * 512))
        .sum()
}

fn too_much() {
    const LINES: u32 = 1_000_000;
    on_host(async |mut host| {
        host.spool.limit_bytes = 1 << 20;
        let server = Server::on_disk(&host);
        let job = server.job(&format!(
            "echo first; {WAIT_FOR_GO}; seq 1 {LINES}; echo > done; \
             while [ ! -e end ]; do sleep 0.02; done"
        ));
        let _daemon = host.start();
        host.allocate(&job, Run).await;
        server.has(&job, "stdout.txt", "first\n").await;
        server.freeze();
        go(&host, &job);
        until(|| host.scratch(&job, "done").exists().then_some(())).await;
        let files = host.spool(&job).join("files");
        until(|| (space_of(&files) < 2 << 20).then_some(())).await;
        server.thaw();
        fs::write(host.scratch(&job, "end"), "").unwrap();
        assert_eq!(host.end(&job).await, Outcome::Completed);

        let produced = "first\n".len() + counted(LINES).len();
        let output = server.contents(&job, "stdout.txt");
        assert!(output.starts_with("first\n") && output.ends_with(&format!("{LINES}\n")));
        let notices: usize = output
            .lines()
            .filter(|line| line.starts_with("[lote: "))
            // With the ends of lines before and behind it.
            .map(|line| line.len() + 2)
            .sum();
        assert!(notices > 0);
        assert_eq!(output.len() - notices + dropped(&output), produced);
        assert!(!output.contains('\0'));
        let log = server.contents(&job, "execution.log");
        assert!(log.contains("bytes of stdout.txt were dropped"), "{log}");
    });
}

fn full() {
    on_host(async |host| {
        let server = Server::in_memory(&host, "1M");
        let job = server.job("seq 1 400000");
        let _daemon = host.start();
        host.allocate(&job, Run).await;
        let file = server.file(&job, "stdout.txt");
        until(|| (fs::metadata(&file).is_ok_and(|is| is.len() > 500_000)).then_some(())).await;
        server.grow("16M");
        assert_eq!(host.end(&job).await, Outcome::Completed);
        assert!(server.contents(&job, "stdout.txt") == counted(400_000));
    });
}

fn late() {
    on_host(async |mut host| {
        host.spool = SpoolConfig {
            patience: Duration::from_millis(300),
            ..SpoolConfig::default()
        };
        let server = Server::on_disk(&host);
        let job = server.job(&format!("echo first; {WAIT_FOR_GO}; seq 1 5000"));
        let daemon = host.start();
        host.allocate(&job, Run).await;
        server.has(&job, "stdout.txt", "first\n").await;
        server.freeze();
        go(&host, &job);
        let outcome = host.end(&job).await;
        let Outcome::Failed { exit_code, error } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(
            (exit_code, error.code.as_str()),
            (Some(0), "OutputNotDelivered")
        );
        let report = host.last_report(&job).await.unwrap();
        let kept = report.directories.last().unwrap();
        let local = fs::read(Path::new(&kept.path).join("stdout.txt")).unwrap();
        assert!(String::from_utf8_lossy(&local).ends_with("4999\n5000\n"));

        // Another daemon goes on with it, once the end is concluded.
        daemon.kill();
        host.withdraw(&job).await;
        let _daemon = host.start();
        host.conclude(&job, ExecutionState::Failed).await;
        server.thaw();
        until(|| (!host.spool(&job).exists()).then_some(())).await;
        let expected = format!("first\n{}", counted(5000));
        assert_eq!(server.contents(&job, "stdout.txt"), expected);
    });
}

fn withdrawn() {
    on_host(async |host| {
        let server = Server::in_memory(&host, "64k");
        server.fill();
        let _daemon = host.start();
        let job = server.job("echo of the first attempt; echo > done; sleep 1000");
        host.allocate(&job, Run).await;
        host.conclude(&job, ExecutionState::Running).await;
        until(|| host.scratch(&job, "done").exists().then_some(())).await;
        host.withdraw(&job).await;
        until(|| (!host.job_root(&job).exists()).then_some(())).await;
        host.conclude(&job.next(""), ExecutionState::Running).await;
        until(|| (!host.spool(&job).exists()).then_some(())).await;
        server.grow("16M");
        assert_eq!(server.contents(&job, "stdout.txt"), "");
    });
}

fn freed() {
    on_host(async |host| {
        let server = Server::in_memory(&host, "64M");
        let job = server.job(&format!("seq 1 1000000; {WAIT_FOR_GO}"));
        let _daemon = host.start();
        host.allocate(&job, Run).await;
        let file = server.file(&job, "stdout.txt");
        let expected = counted(1_000_000).len() as u64;
        until(|| (fs::metadata(&file).is_ok_and(|is| is.len() == expected)).then_some(())).await;
        let files = host.spool(&job).join("files");
        until(|| (space_of(&files) < 256 << 10).then_some(())).await;
        go(&host, &job);
        assert_eq!(host.end(&job).await, Outcome::Completed);
    });
}

fn emptied() {
    on_host(async |host| {
        let server = Server::in_memory(&host, "16M");
        let job = server.job(&format!(
            "echo first; {WAIT_FOR_GO}; echo 2 > /dev/stdout; echo 3"
        ));
        let _daemon = host.start();
        host.allocate(&job, Run).await;
        server.has(&job, "stdout.txt", "first\n").await;
        go(&host, &job);
        assert_eq!(host.end(&job).await, Outcome::Completed);
        assert_eq!(server.contents(&job, "stdout.txt"), "first\n2\n3\n");
    });
}

fn last_lines() {
    on_host(async |host| {
        let server = Server::in_memory(&host, "16M");
        let job = server.job("seq 1 50000 >&2; echo what went wrong >&2; exit 3");
        let _daemon = host.start();
        host.allocate(&job, Run).await;
        let outcome = host.end(&job).await;
        let Outcome::Failed { exit_code, error } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(exit_code, Some(3));
        let mut details = error.details.iter();
        let lines = details.find(|detail| detail.name == "stderr").unwrap();
        assert!(lines.value.ends_with("50000\nwhat went wrong"), "{lines:?}");
    });
}

fn others() {
    on_host(async |host| {
        let server = Server::in_memory(&host, "16M");
        let job = server.job(&format!("echo first; {WAIT_FOR_GO}; echo last"));
        let _daemon = host.start();
        host.allocate(&job, Run).await;
        server.has(&job, "stdout.txt", "first\n").await;
        let file = server.file(&job, "stdout.txt");
        let mut file = fs::OpenOptions::new().append(true).open(file).unwrap();
        std::io::Write::write_all(&mut file, b"of somebody else\n").unwrap();
        go(&host, &job);
        assert_eq!(host.end(&job).await, Outcome::Completed);
        assert_eq!(
            server.contents(&job, "stdout.txt"),
            "first\nof somebody else\nlast\n"
        );
    });
}

fn full_here() {
    on_host(async |host| {
        let mut server = Server::in_memory(&host, "64k");
        server.fill();
        // The machine's own disk is a small one.
        let data = host.data();
        fs::create_dir(&data).unwrap();
        run(
            "mount",
            &["-t", "tmpfs", "-o", "size=8M", "data", text(&data)],
        );
        server.bound.push(data.clone());
        let job = server.job("seq 1 2000000 || exit 5");
        let daemon = host.start();
        host.allocate(&job, Run).await;
        // There is no room where it goes, so nothing gets away.
        let files = host.spool(&job).join("files");
        until(|| (space_of(&files) > 7 << 20).then_some(())).await;
        server.grow("64M");
        let outcome = host.end(&job).await;
        assert!(
            matches!(
                outcome,
                Outcome::Failed {
                    exit_code: Some(5),
                    ..
                }
            ),
            "{outcome:?}"
        );
        let output = server.contents(&job, "stdout.txt");
        assert!(counted(2_000_000).starts_with(&output) && output.len() > 7 << 20);
        assert!(!host.spool(&job).exists());
        // And the next job runs as if nothing had been.
        let next = server.job("echo well");
        host.allocate(&next, Run).await;
        assert_eq!(host.end(&next).await, Outcome::Completed);
        server.has(&next, "stdout.txt", "well\n").await;
        drop(daemon);
    });
}
