//! File systems of jobs, mounted for real.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use lote_model::allocation::AllocationPhase::{Run, Stop};
use lote_model::export::{ExportPoint, NfsAbility, NfsServer, SizeLimit};
use lote_model::id::{FileServerUid, NodeName};
use lote_model::job::{DirectoryLocation, ErrorRecord};
use lote_model::key;
use lote_model::planned_mount::{
    FileServerSource, FileShareSource, GangShare, MountSource, PlannedMount, PlannedMounts,
};
use lote_model::report::{Outcome, ReportPhase};
use lote_model::secret::{SecretText, SecretValue, Secrets};
use lote_node::agent::Isolation;
use lote_node::isolation::{FsIdentity, Identity};
use lote_node::mount::NfsClientCommand;
use lote_store::Transaction;
use lote_vault::Sealed;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::export::server::{free_port, leave};
use crate::host::{Host, TestJob, gone, on_host};
use crate::support::{Test, cgroup_test, line_in, new_user, until};

pub const TESTS: &[Test] = &[
    cgroup_test("mounts::a_file_server_on_its_own_node", own_node),
    cgroup_test("mounts::no_way_out_of_a_file_server", escape),
    cgroup_test("mounts::options_that_nobody_may_set_are_named", options),
    cgroup_test("mounts::a_read_only_mount_is_one", read_only),
    cgroup_test("mounts::a_command_of_the_users", command),
    cgroup_test("mounts::data_on_a_disk_image_survives", disk_image),
    cgroup_test("mounts::a_command_is_not_run_unless_allowed", not_allowed),
    cgroup_test("mounts::a_command_that_hangs_is_killed", hanging),
    cgroup_test("mounts::what_takes_long_is_told", long),
    cgroup_test("mounts::a_command_that_fails_is_quoted", failing),
    cgroup_test("mounts::a_command_that_mounts_nothing_has_failed", nothing),
    cgroup_test("mounts::a_share_that_is_a_directory", share),
    cgroup_test("mounts::a_directory_of_a_share", part_of_share),
    cgroup_test("mounts::a_share_that_nothing_stands_for", unknown_share),
    cgroup_test("mounts::the_storage_table_cannot_be_read_by_a_job", table),
    cgroup_test(
        "mounts::the_key_of_an_account_reaches_a_command",
        account_key,
    ),
    cgroup_test("mounts::one_below_another", nested),
    cgroup_test("mounts::a_planted_link_misleads_nobody", planted_link),
    cgroup_test("mounts::only_the_job_sees_them", private),
    cgroup_test("mounts::they_outlive_a_daemon", restart),
    cgroup_test("mounts::what_a_dead_daemon_left_is_unmounted", stray),
    cgroup_test("mounts::what_is_in_use_is_unmounted_lazily", busy),
    cgroup_test("mounts::removal_takes_nothing_that_is_mounted", survives),
    cgroup_test("mounts::a_job_can_be_stopped_meanwhile", stopped),
    cgroup_test("mounts::an_nfs_client_outlives_the_daemon", client),
    cgroup_test("mounts::a_job_is_lost_with_its_nfs_client", lost_client),
    cgroup_test(
        "mounts::the_first_node_serves_what_a_gang_shares",
        gang_share,
    ),
    cgroup_test("mounts::without_isolation_there_are_none", no_isolation),
    cgroup_test(
        "mounts::a_gang_shares_a_directory_while_it_runs",
        shared_scratch,
    ),
    cgroup_test("mounts::output_on_a_mount_is_told_where_it_stays", output),
];

/// Stands in for Lote's NFS client.
pub const CLIENT_SUBCOMMAND: &str = "__test-nfs-client";

/// Mounts memory at its last argument instead, until it is told to end.
pub fn client_main() -> ExitCode {
    use nix::sys::signal::{SigSet, Signal};
    let signals = SigSet::from_iter([Signal::SIGTERM]);
    signals.thread_block().unwrap();
    let place = std::env::args().next_back().unwrap();
    let options = Some("mode=1777");
    mount(
        Some("client"),
        place.as_str(),
        Some("tmpfs"),
        MsFlags::empty(),
        options,
    )
    .unwrap();
    fs::write(
        Path::new(&place).join("pid"),
        format!("{}\n", std::process::id()),
    )
    .unwrap();
    println!("mounted");
    signals.wait().unwrap();
    umount2(place.as_str(), MntFlags::MNT_DETACH).ok();
    ExitCode::SUCCESS
}

impl Host {
    /// A directory of the job's user beside the daemon's data.
    fn owned(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        chown(&path, Some(self.user().0), Some(self.user().0)).unwrap();
        path
    }

    /// What is mounted for jobs.
    fn mounted(&self) -> Vec<String> {
        let mounts = self.path("data/mounts");
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let paths = text.lines().filter_map(|line| line.split(' ').nth(4));
        let inside = |path: &&str| Path::new(path).starts_with(&mounts);
        paths.filter(inside).map(str::to_owned).collect()
    }

    /// Runs a job to its end, after which nothing of its mounts may be left.
    async fn ends(&self, job: &TestJob) -> Outcome {
        self.allocate(job, Run).await;
        let outcome = self.end(job).await;
        self.is_clean();
        outcome
    }

    /// Runs a job that must not be started, and gives the error.
    async fn refuses(&self, job: &TestJob) -> ErrorRecord {
        match self.ends(job).await {
            Outcome::Failed { exit_code, error } => {
                assert_eq!(exit_code, Some(-1), "{error:?}");
                assert_eq!(detail(&error, "step"), "mount");
                error
            }
            other => panic!("{other:?}"),
        }
    }

    fn is_clean(&self) {
        assert_eq!(self.mounted(), [""; 0]);
        assert!(!self.path("data/mounts").exists());
    }

    fn table(&mut self, text: &str) {
        let path = self.path("storage.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        self.mounts.storage_table = Some(path);
    }
}

fn detail<'a>(error: &'a ErrorRecord, name: &str) -> &'a str {
    let found = error.details.iter().find(|detail| detail.name == name);
    found.map_or("", |detail| detail.value.as_str())
}

fn server(node: &str, export: &Path) -> FileServerSource {
    FileServerSource {
        name: "data".into(),
        uid: FileServerUid::new("f1"),
        node: NodeName::new(node),
        address: "127.0.0.1".into(),
        point: ExportPoint {
            server: NfsServer::Ganesha,
            path: export.to_str().unwrap().into(),
            nfs_port: 1,
            mount_port: Some(1),
            versions: vec!["3".into()],
            size_limit: SizeLimit {
                in_force: false,
                note: String::new(),
            },
        },
        directory: None,
        options: None,
    }
}

fn at(path: &str, source: MountSource) -> PlannedMount {
    PlannedMount {
        relative_path: path.into(),
        source,
    }
}

fn file_server(path: &str, export: &Path) -> PlannedMount {
    at(path, MountSource::FileServer(server("n1", export)))
}

fn by_command(path: &str, command: &str) -> PlannedMount {
    at(path, MountSource::Command(command.into()))
}

fn file_share(path: &str, account: &str, share: &str) -> PlannedMount {
    let source = FileShareSource {
        account: account.into(),
        url: format!("https://{account}.file.example/{share}"),
        file_mode: "0777".into(),
        directory_mode: "0777".into(),
    };
    at(path, MountSource::FileShare(source))
}

/// A job with file systems of its cluster.
fn with_cluster(mounts: Vec<PlannedMount>, script: &str) -> TestJob {
    TestJob {
        mounts: PlannedMounts {
            cluster: mounts,
            ..PlannedMounts::default()
        },
        ..TestJob::new(script)
    }
}

/// A job with file systems of its own.
fn with_own(mounts: Vec<PlannedMount>, script: &str) -> TestJob {
    TestJob {
        mounts: PlannedMounts {
            job: mounts,
            ..PlannedMounts::default()
        },
        ..TestJob::new(script)
    }
}

/// Waits for a file of the name in the directory of its output.
const WAIT: &str = "while [ ! -e end ]; do sleep 0.02; done";

const MEMORY: &str = "mount -t tmpfs -o mode=1777 none";

fn own_node() {
    on_host(async |host| {
        let export = host.owned("export");
        fs::create_dir(export.join("sets")).unwrap();
        fs::write(export.join("sets/a"), "one\n").unwrap();
        let _daemon = host.start();
        let mut sets = server("n1", &export);
        sets.directory = Some("/sets/".into());
        let job = TestJob {
            mounts: PlannedMounts {
                cluster: vec![file_server("nfs/all", &export)],
                job: vec![at("sets", MountSource::FileServer(sets))],
                ..PlannedMounts::default()
            },
            ..TestJob::new(
                "cat $AZ_BATCHAI_JOB_MOUNT_ROOT/sets/a > $AZ_BATCHAI_MOUNT_ROOT/nfs/all/b && \
                 grep -c 'nosuid,nodev.* - ' /proc/self/mountinfo > /dev/null",
            )
        };
        assert_eq!(host.ends(&job).await, Outcome::Completed);
        assert_eq!(fs::read_to_string(export.join("b")).unwrap(), "one\n");
    });
}

fn escape() {
    on_host(async |host| {
        let export = host.owned("export");
        fs::create_dir(host.path("secret")).unwrap();
        symlink("../secret", export.join("out")).unwrap();
        symlink("/etc", export.join("absolute")).unwrap();
        let _daemon = host.start();
        for directory in ["out", "absolute", "..", "../secret"] {
            let mut source = server("n1", &export);
            source.directory = Some(directory.into());
            let job = with_cluster(vec![at("nfs", MountSource::FileServer(source))], "true");
            let error = host.refuses(&job).await;
            assert_eq!(error.code, "FileServerMountError");
            assert!(
                error.message.contains("leads out"),
                "{directory}: {error:?}"
            );
            assert_eq!(detail(&error, "relativeMountPath"), "nfs");
        }
        let mut source = server("n1", &export);
        source.directory = Some("none".into());
        let job = with_cluster(vec![at("nfs", MountSource::FileServer(source))], "true");
        let error = host.refuses(&job).await;
        assert!(error.message.contains("no directory 'none'"), "{error:?}");
    });
}

fn options() {
    on_host(async |host| {
        let export = host.owned("export");
        let _daemon = host.start();
        let mut source = server("n1", &export);
        source.options = Some("rw,suid,addr=10.0.0.1".into());
        let job = with_cluster(vec![at("nfs", MountSource::FileServer(source))], "true");
        let error = host.refuses(&job).await;
        assert!(error.message.contains("suid, addr=10.0.0.1"), "{error:?}");
    });
}

fn read_only() {
    on_host(async |host| {
        let export = host.owned("export");
        let _daemon = host.start();
        let mut source = server("n1", &export);
        source.options = Some("ro".into());
        let script = "! touch $AZ_BATCHAI_MOUNT_ROOT/nfs/x";
        let job = with_cluster(vec![at("nfs", MountSource::FileServer(source))], script);
        assert_eq!(host.ends(&job).await, Outcome::Completed);
        assert!(!export.join("x").exists());
    });
}

fn command() {
    on_host(async |mut host| {
        host.mounts.allow_commands = true;
        let kept = host.owned("kept");
        let _daemon = host.start();
        let bind = format!("mount --bind {}", kept.display());
        let job = with_own(
            vec![by_command("a memory's", MEMORY), by_command("b", &bind)],
            "cd $AZ_BATCHAI_JOB_MOUNT_ROOT && echo 1 > \"a memory's/x\" && echo 2 > b/x",
        );
        assert_eq!(host.ends(&job).await, Outcome::Completed);
        assert_eq!(fs::read_to_string(kept.join("x")).unwrap(), "2\n");
    });
}

fn disk_image() {
    on_host(async |mut host| {
        host.mounts.allow_commands = true;
        let (image, top) = (host.path("image"), host.owned("top"));
        fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
        let owner = format!("root_owner={0}:{0}", host.user().0);
        let mut format = Command::new("mkfs.ext4");
        let format = format
            .args(["-q", "-F", "-E", &owner, "-d"])
            .args([&top, &image]);
        if !format.status().is_ok_and(|status| status.success()) {
            println!("SKIPPED: mounts::data_on_a_disk_image_survives: no mkfs.ext4");
            return;
        }
        let _daemon = host.start();
        let command = format!("mount -o loop {}", image.display());
        let disk = || vec![by_command("disk", &command)];
        let writing = with_cluster(disk(), "echo kept > $AZ_BATCHAI_MOUNT_ROOT/disk/x");
        assert_eq!(host.ends(&writing).await, Outcome::Completed);
        let reading = with_own(disk(), "cat $AZ_BATCHAI_JOB_MOUNT_ROOT/disk/x");
        assert_eq!(host.ends(&reading).await, Outcome::Completed);
        let read = fs::read_to_string(host.output(&reading, "stdout.txt")).unwrap();
        assert_eq!(read, "kept\n");
    });
}

fn not_allowed() {
    on_host(async |mut host| {
        host.mounts.allow_commands = false;
        let _daemon = host.start();
        let made = host.path("made");
        let command = format!("touch {};", made.display());
        let error = host
            .refuses(&with_own(vec![by_command("a", &command)], "true"))
            .await;
        assert_eq!(error.code, "UnmanagedFileSystemMountError");
        assert!(
            error.message.contains("--allow-mount-commands"),
            "{error:?}"
        );
        assert!(!made.exists());
    });
}

fn hanging() {
    on_host(async |mut host| {
        host.mounts.allow_commands = true;
        host.mounts.time_limit = Duration::from_secs(1);
        let pid = host.path("pid");
        let _daemon = host.start();
        let command = format!(
            "echo asking >&2; sleep 1000 & echo $! > {}; wait; true",
            pid.display()
        );
        let asked = Instant::now();
        let error = host
            .refuses(&with_own(vec![by_command("a", &command)], "true"))
            .await;
        assert!(asked.elapsed() < Duration::from_secs(20));
        assert!(error.message.contains("killed after 1 s"), "{error:?}");
        assert_eq!(detail(&error, "stderr"), "asking");
        let pid: i32 = fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        gone(nix::unistd::Pid::from_raw(pid)).await;
    });
}

fn long() {
    on_host(async |mut host| {
        host.mounts.allow_commands = true;
        let go = host.path("go");
        let _daemon = host.start();
        let command = format!(
            "until [ -e {} ]; do sleep 0.05; done; {MEMORY}",
            go.display()
        );
        let job = with_own(vec![by_command("a", &command)], "true");
        host.allocate(&job, Run).await;
        let is_preparing = |phase: &ReportPhase| matches!(phase, ReportPhase::Preparing { .. });
        let told = host.report(&job, is_preparing).await.phase;
        let doing = "mounting 'a'".to_owned();
        assert_eq!(told, ReportPhase::Preparing { doing });
        fs::write(go, "").unwrap();
        assert_eq!(host.end(&job).await, Outcome::Completed);
    });
}

fn failing() {
    on_host(async |mut host| {
        host.mounts.allow_commands = true;
        let _daemon = host.start();
        let command = "sh -c 'echo no such host >&2; exit 32'";
        let error = host
            .refuses(&with_own(vec![by_command("a", command)], "true"))
            .await;
        assert_eq!(detail(&error, "stderr"), "no such host");
        assert!(detail(&error, "exitStatus").contains("32"), "{error:?}");
        assert!(
            detail(&error, "command").contains("no such host"),
            "{error:?}"
        );
        assert_eq!(detail(&error, "node"), "n1");
    });
}

fn nothing() {
    on_host(async |mut host| {
        host.mounts.allow_commands = true;
        let _daemon = host.start();
        let job = with_own(
            vec![by_command("a", MEMORY), by_command("b", "true")],
            "true",
        );
        let error = host.refuses(&job).await;
        assert!(error.message.contains("nothing is mounted at"), "{error:?}");
        assert_eq!(detail(&error, "relativeMountPath"), "b");
    });
}

fn share() {
    on_host(async |mut host| {
        let shares = host.path("shares");
        host.table(&format!(
            "\"Account/*\" = {{ directory = \"{}/{{account}}/{{share}}\", create = true, owner = \"job\" }}",
            shares.display()
        ));
        let _daemon = host.start();
        let job = TestJob {
            output_below: "logs".into(),
            ..with_cluster(vec![file_share("logs", "account", "logs")], "echo hello")
        };
        assert_eq!(host.ends(&job).await, Outcome::Completed);
        let share = shares.join("account/logs");
        let path = share.join(job.uid.as_str()).join("stdouterr");
        assert_eq!(
            fs::read_to_string(path.join("stdout.txt")).unwrap(),
            "hello\n"
        );
        assert_eq!(
            fs::metadata(&share).unwrap().permissions().mode() & 0o777,
            0o700
        );
        let report = host.report(&job, |_| true).await;
        let expected = DirectoryLocation {
            id: "stdouterr".into(),
            node: NodeName::new("n1"),
            path: path.to_str().unwrap().into(),
            root: Some(share.to_str().unwrap().into()),
            while_mounted: false,
        };
        assert_eq!(report.directories, [expected]);
    });
}

fn part_of_share() {
    on_host(async |mut host| {
        let share = host.path("share");
        fs::create_dir_all(share.join("runs/first")).unwrap();
        fs::write(share.join("runs/first/word"), "hello\n").unwrap();
        std::os::unix::fs::symlink("/", share.join("out")).unwrap();
        host.table(&format!(
            "\"account/data\" = {{ directory = \"{}\" }}",
            share.display()
        ));
        let _daemon = host.start();
        let part = |url: &str| vec![file_share("part", "account", url)];
        let script = "cat $AZ_BATCHAI_MOUNT_ROOT/part/word; ls $AZ_BATCHAI_MOUNT_ROOT/part";
        let job = with_cluster(part("data/runs/first"), script);
        assert_eq!(host.ends(&job).await, Outcome::Completed);
        let printed = fs::read_to_string(host.output(&job, "stdout.txt"));
        assert_eq!(printed.unwrap(), "hello\nword\n");

        for (url, reason) in [
            ("data/runs/none", "'runs/none' of the share cannot be shown"),
            ("data/out", "'out' of the share cannot be shown"),
            ("data/out/etc", "'out/etc' of the share cannot be shown"),
            ("data/../x", "'..' in the URL"),
        ] {
            let error = host.refuses(&with_cluster(part(url), "true")).await;
            assert_eq!(error.code, "AZFMountError");
            assert!(error.message.contains(reason), "{url}: {error:?}");
        }
    });
}

fn unknown_share() {
    on_host(async |mut host| {
        let job = || with_cluster(vec![file_share("logs", "Account", "Logs")], "true");
        let daemon = host.start();
        let error = host.refuses(&job()).await;
        assert_eq!(error.code, "AZFMountError");
        assert!(error.message.contains("--storage-table"), "{error:?}");
        daemon.kill();
        host.table("\"a/b\" = { directory = \"/x\" }");
        let _daemon = host.start();
        let error = host.refuses(&job()).await;
        let line = "\"Account/Logs\" = { directory = \"/PATH\" }";
        assert!(error.message.contains(line), "{error:?}");
        assert!(error.message.contains("storage.toml"), "{error:?}");
        // It is read again for each job; a wrong one is said to be wrong.
        host.table("\"account/logs\" = { directory = \"relative\" }");
        let error = host.refuses(&job()).await;
        assert!(error.message.contains("absolute path"), "{error:?}");
        let path = host.path("storage.toml");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let error = host.refuses(&job()).await;
        assert!(error.message.contains("chmod 600"), "{error:?}");
    });
}

fn table() {
    on_host(async |mut host| {
        host.table("\"a/b\" = { directory = \"/x\" }");
        let path = host.path("storage.toml");
        // Even an operator who left it open to all.
        fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let _daemon = host.start();
        let job = TestJob::new(&format!("cat {} > table; true", path.display()));
        assert_eq!(host.ends(&job).await, Outcome::Completed);
        assert_eq!(fs::read_to_string(host.output(&job, "table")).unwrap(), "");
    });
}

fn account_key() {
    on_host(async |mut host| {
        let told = host.path("told");
        host.table(&format!(
            "\"a/b\" = {{ command = \"sh -c 'echo $LOTE_ACCOUNT_NAME $LOTE_ACCOUNT_KEY $0 > {}; \
             echo bad $LOTE_ACCOUNT_KEY >&2; exit 1' {{container}}\" }}",
            told.display()
        ));
        let _daemon = host.start();
        let job = with_own(vec![file_share("s", "a", "b")], "true");
        let mut secrets = Secrets::default();
        let pointer = "/properties/mountVolumes/azureFileShares/0/credentials/accountKey";
        secrets.insert(
            pointer,
            SecretValue::Text(SecretText::new("hunter2-and-more")),
        );
        let key = key::job_secrets(&job.uid);
        let sealed = Sealed::seal(&host.sealing_key, &key, &secrets).unwrap();
        let transaction = Transaction::new().put(key, serde_json::to_vec(&sealed).unwrap());
        host.store.inner.commit(transaction).await.unwrap();
        let error = host.refuses(&job).await;
        assert_eq!(fs::read_to_string(told).unwrap(), "a hunter2-and-more b\n");
        assert_eq!(detail(&error, "stderr"), "bad ***");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    });
}

fn nested() {
    on_host(async |mut host| {
        host.mounts.allow_commands = true;
        let (export, deep) = (host.owned("export"), host.owned("deep"));
        fs::create_dir(export.join("there")).unwrap();
        let _daemon = host.start();
        let bind = format!("mount --bind {}", deep.display());
        let job = with_cluster(
            vec![
                by_command("a/made/deep", &bind),
                by_command("a/there", MEMORY),
                file_server("a", &export),
            ],
            "cd $AZ_BATCHAI_MOUNT_ROOT/a && echo 1 > x && echo 2 > there/x && echo 3 > made/deep/x",
        );
        assert_eq!(host.ends(&job).await, Outcome::Completed);
        assert_eq!(fs::read_to_string(export.join("x")).unwrap(), "1\n");
        assert_eq!(fs::read_to_string(deep.join("x")).unwrap(), "3\n");
        assert!(!export.join("there/x").exists());
        assert!(export.join("made/deep").is_dir() && !export.join("made/deep/x").exists());
    });
}

fn planted_link() {
    on_host(async |mut host| {
        host.mounts.allow_commands = true;
        let (export, aim) = (host.owned("export"), host.owned("aim"));
        symlink(&aim, export.join("b")).unwrap();
        let _daemon = host.start();
        let mounts = vec![file_server("a", &export), by_command("a/b", MEMORY)];
        let error = host.refuses(&with_cluster(mounts, "true")).await;
        assert_eq!(error.code, "UnmanagedFileSystemMountError");
        assert!(error.message.contains("is a link"), "{error:?}");
        // One that a job planted where the next one's file systems are shown.
        let planting = TestJob::new(&format!("ln -s {} $AZ_BATCHAI_MOUNT_ROOT/x", aim.display()));
        assert_eq!(host.ends(&planting).await, Outcome::Completed);
        for path in ["x", "x/deep"] {
            let job = with_cluster(vec![file_server(path, &export)], "true");
            let outcome = host.ends(&job).await;
            assert!(
                matches!(outcome, Outcome::Failed { .. }),
                "{path}: {outcome:?}"
            );
        }
    });
}

fn private() {
    on_host(async |mut host| {
        host.grant.exclusive = false;
        let export = host.owned("export");
        fs::write(export.join("a"), "one\n").unwrap();
        let _daemon = host.start();
        let job = TestJob {
            second: Some(
                "cd $AZ_BATCHAI_STDOUTERR_DIR; cat $AZ_BATCHAI_MOUNT_ROOT/nfs/a > second".into(),
            ),
            ..with_cluster(
                vec![file_server("nfs", &export)],
                &format!("cat $AZ_BATCHAI_MOUNT_ROOT/nfs/a > first; {WAIT}"),
            )
        };
        host.allocate(&job, Run).await;
        for name in ["first", "second"] {
            assert_eq!(line_in(&host.output(&job, name)).await, "one\n", "{name}");
        }
        let data = host.path("data");
        let other = TestJob::new(&format!(
            "ls $AZ_BATCHAI_MOUNT_ROOT/nfs {0}/mounts > seen 2>/dev/null; \
             grep -c {0}/mounts /proc/self/mountinfo > known; true",
            data.display()
        ));
        host.allocate(&other, Run).await;
        assert_eq!(host.end(&other).await, Outcome::Completed);
        let seen = fs::read_to_string(host.output(&other, "seen")).unwrap();
        assert!(
            !seen.contains('a') || seen.trim_end().ends_with(':'),
            "{seen}"
        );
        assert_eq!(
            fs::read_to_string(host.output(&other, "known")).unwrap(),
            "0\n"
        );
        // Another user of the machine.
        let place = data.join(format!("mounts/{}.1/cluster/nfs/a", job.uid));
        assert_eq!(fs::read_to_string(&place).unwrap(), "one\n");
        let read_as = |identity| {
            let _rights = FsIdentity::assume(identity).unwrap();
            fs::read(&place).map(|_| ())
        };
        assert!(read_as(new_user()).is_err());
        let user = host.user().0;
        assert!(
            read_as(Identity {
                uid: user,
                gid: user
            })
            .is_ok()
        );
        fs::write(host.output(&job, "end"), "").unwrap();
        assert_eq!(host.end(&job).await, Outcome::Completed);
        host.is_clean();
    });
}

fn restart() {
    on_host(async |host| {
        let export = host.owned("export");
        let daemon = host.start();
        let job = with_cluster(
            vec![file_server("nfs", &export)],
            &format!("{WAIT}; echo still > $AZ_BATCHAI_MOUNT_ROOT/nfs/x"),
        );
        host.allocate(&job, Run).await;
        host.pid(&job, "pid").await;
        let mounted = host.mounted();
        daemon.kill();
        let _daemon = host.start();
        host.alive().await;
        assert_eq!(host.mounted(), mounted);
        fs::write(host.output(&job, "end"), "").unwrap();
        assert_eq!(host.end(&job).await, Outcome::Completed);
        assert_eq!(fs::read_to_string(export.join("x")).unwrap(), "still\n");
        host.is_clean();
    });
}

fn stray() {
    on_host(async |host| {
        let export = host.owned("export");
        let daemon = host.start();
        let job = with_cluster(
            vec![file_server("nfs", &export)],
            "touch $AZ_BATCHAI_MOUNT_ROOT/nfs/x; sleep 1000",
        );
        host.allocate(&job, Run).await;
        host.pid(&job, "pid").await;
        until(|| export.join("x").exists().then_some(())).await;
        daemon.kill();
        host.withdraw(&job).await;
        host.not_alive().await;
        let _daemon = host.start();
        host.alive().await;
        host.is_clean();
        assert!(export.join("x").exists());
    });
}

fn busy() {
    on_host(async |host| {
        let export = host.owned("export");
        let _daemon = host.start();
        let job = with_cluster(vec![file_server("nfs", &export)], WAIT);
        host.allocate(&job, Run).await;
        host.pid(&job, "pid").await;
        let place = host.path(&format!("data/mounts/{}.1/cluster/nfs/held", job.uid));
        let held = fs::File::create(&place).unwrap();
        fs::write(host.output(&job, "end"), "").unwrap();
        assert_eq!(host.end(&job).await, Outcome::Completed);
        host.is_clean();
        assert!(held.metadata().is_ok() && export.join("held").exists());
    });
}

fn survives() {
    on_host(async |host| {
        let precious = host.path("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("data"), "kept").unwrap();
        let _daemon = host.start();
        let job = TestJob::new(WAIT);
        host.allocate(&job, Run).await;
        host.pid(&job, "pid").await;
        let place = host.job_root(&job).join("scratch/precious");
        fs::create_dir(&place).unwrap();
        let none = None::<&str>;
        mount(Some(&precious), &place, none, MsFlags::MS_BIND, none).unwrap();
        fs::write(host.output(&job, "end"), "").unwrap();
        assert_eq!(host.end(&job).await, Outcome::Completed);
        assert!(!host.job_root(&job).exists());
        assert_eq!(fs::read_to_string(precious.join("data")).unwrap(), "kept");
    });
}

fn stopped() {
    on_host(async |mut host| {
        host.mounts.allow_commands = true;
        let pid = host.path("pid");
        let _daemon = host.start();
        let command = format!("sleep 1000 & echo $! > {}; wait; true", pid.display());
        let job = with_own(
            vec![by_command("a", MEMORY), by_command("b", &command)],
            "true",
        );
        host.allocate(&job, Run).await;
        let waiting: i32 = line_in(&pid).await.trim().parse().unwrap();
        host.allocate(&job, Stop).await;
        assert_eq!(host.end(&job).await, Outcome::Stopped);
        gone(nix::unistd::Pid::from_raw(waiting)).await;
        host.is_clean();
    });
}

/// Whether this node's client is a process of its own.
fn has_own_client() -> bool {
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap();
    !filesystems.lines().any(|line| line.ends_with("\tnfs")) && Path::new("/dev/fuse").exists()
}

impl Host {
    /// With what stands in for the client.
    fn with_client(mut self) -> Self {
        self.mounts.nfs_client = NfsClientCommand {
            program: std::env::current_exe().unwrap(),
            arguments: vec![CLIENT_SUBCOMMAND.into()],
        };
        self
    }
}

/// A job that tells who its client is, and waits.
fn with_remote() -> TestJob {
    let source = server("n9", Path::new("/srv/data"));
    with_cluster(
        vec![at("nfs", MountSource::FileServer(source))],
        &format!("cat $AZ_BATCHAI_MOUNT_ROOT/nfs/pid > client; {WAIT}"),
    )
}

fn lost_client() {
    if !has_own_client() {
        println!("SKIPPED: mounts::a_job_is_lost_with_its_nfs_client: the kernel is the client");
        return;
    }
    on_host(async |host| {
        let host = host.with_client();
        let daemon = host.start();
        let job = with_remote();
        host.allocate(&job, Run).await;
        let client = host.pid(&job, "client").await;
        // Also by a daemon that has not started it.
        daemon.kill();
        let _daemon = host.start();
        host.alive().await;
        nix::sys::signal::kill(client, nix::sys::signal::Signal::SIGKILL).unwrap();
        let outcome = host.end(&job).await;
        let Outcome::Lost {
            error: Some(error), ..
        } = outcome
        else {
            panic!("{outcome:?}")
        };
        assert_eq!(error.code, "MountLost");
        assert_eq!(detail(&error, "relativeMountPath"), "nfs");
        host.is_clean();
    });
}

fn gang_share() {
    if Command::new("ganesha.nfsd").arg("-v").output().is_err() {
        println!("SKIPPED: mounts::the_first_node_serves_what_a_gang_shares: no ganesha.nfsd");
        return;
    }
    on_host(async |mut host| {
        let _server = Server(host.path("data"));
        host.export.nfs_port = free_port();
        host.export.mount_port = free_port();
        let daemon = host.start();
        host.alive().await;
        let record = host.record(|record| record.nfs.is_some()).await;
        let Some(NfsAbility::Serves(service)) = &record.nfs else {
            panic!("{:?}", record.nfs)
        };
        let job = TestJob {
            peer: Some(NodeName::new("n2")),
            ..TestJob::new(&format!(
                "echo x > $AZ_BATCHAI_SHARED_JOB_TEMP/x && stat -c %a:%u $AZ_BATCHAI_SHARED_JOB_TEMP \
                 > seen; {WAIT}; cat $AZ_BATCHAI_SHARED_JOB_TEMP/x > again"
            ))
        };
        let name = format!("{}.{}", job.uid, job.attempt);
        let point = service.share(&name).unwrap();
        let job = TestJob {
            mounts: PlannedMounts {
                share: GangShare::Directory(Box::new(FileServerSource {
                    name: "shared directory of the job".into(),
                    uid: FileServerUid::new(&name),
                    node: record.name.clone(),
                    address: record.address.clone(),
                    point: point.clone(),
                    directory: None,
                    options: None,
                })),
                ..PlannedMounts::default()
            },
            ..job
        };
        host.allocate(&job, Run).await;
        let seen = line_in(&host.output(&job, "seen")).await;
        assert_eq!(seen.trim(), format!("700:{}", host.user().0));
        let shared = Path::new(&point.path).join("x");
        assert_eq!(fs::read_to_string(&shared).unwrap(), "x\n");
        // The server goes on without the daemon, and with the next one.
        daemon.kill();
        assert!(shared.exists());
        let _daemon = host.start();
        host.alive().await;
        fs::write(host.output(&job, "end"), "").unwrap();
        assert_eq!(host.end(&job).await, Outcome::Completed);
        assert!(!Path::new(&point.path).exists());
        let asked = fs::read_to_string(host.path("data/nfs/shares.json")).unwrap();
        assert_eq!(asked, "{}");
        host.is_clean();
    });
}

/// The NFS server of this data directory, which ends with the test.
struct Server(PathBuf);

impl Drop for Server {
    fn drop(&mut self) {
        leave(&self.0);
    }
}

fn client() {
    if !has_own_client() {
        println!("SKIPPED: mounts::an_nfs_client_outlives_the_daemon: the kernel is the client");
        return;
    }
    on_host(async |host| {
        let host = host.with_client();
        let daemon = host.start();
        let job = with_remote();
        host.allocate(&job, Run).await;
        let client = host.pid(&job, "client").await;
        daemon.kill();
        let _daemon = host.start();
        host.alive().await;
        assert!(crate::support::is_alive(client.as_raw()));
        let arguments = fs::read(format!("/proc/{client}/cmdline")).unwrap();
        let arguments = String::from_utf8(arguments).unwrap().replace('\0', " ");
        let expected = "--server 127.0.0.1 --port 1 --mount-port 1 --export /srv/data ";
        assert!(arguments.contains(expected), "{arguments}");
        let session = nix::unistd::getsid(Some(client)).unwrap();
        assert_eq!(session, client, "it has a session of its own");
        fs::write(host.output(&job, "end"), "").unwrap();
        assert_eq!(host.end(&job).await, Outcome::Completed);
        gone(client).await;
        host.is_clean();
    });
}

fn no_isolation() {
    on_host(async |mut host| {
        host.isolation = Isolation::None;
        let export = host.owned("export");
        let _daemon = host.start();
        let error = host
            .refuses(&with_cluster(vec![file_server("nfs", &export)], "true"))
            .await;
        assert_eq!(error.code, "FileServerMountError");
        assert!(error.message.contains("--isolation none"), "{error:?}");
    });
}

fn shared_scratch() {
    on_host(async |host| {
        let export = host.owned("export");
        let _daemon = host.start();
        let job = TestJob {
            peer: Some(NodeName::new("n2")),
            ..with_own(
                vec![file_server("nfs", &export)],
                "echo x > $AZ_BATCHAI_SHARED_JOB_TEMP/x && \
                 cp $AZ_BATCHAI_JOB_MOUNT_ROOT/nfs/.lote/scratch/*/x $AZ_BATCHAI_JOB_MOUNT_ROOT/nfs/seen",
            )
        };
        assert_eq!(host.ends(&job).await, Outcome::Completed);
        assert_eq!(fs::read_to_string(export.join("seen")).unwrap(), "x\n");
        let left = fs::read_dir(export.join(".lote/scratch")).unwrap();
        assert_eq!(left.count(), 0);
    });
}

fn output() {
    on_host(async |host| {
        let export = host.owned("export");
        let _daemon = host.start();
        let job = TestJob {
            output_below: "nfs".into(),
            ..with_cluster(vec![file_server("nfs", &export)], "echo oops >&2; exit 3")
        };
        let outcome = host.ends(&job).await;
        let Outcome::Failed { exit_code, error } = outcome else {
            panic!("{outcome:?}")
        };
        // The daemon reads the errors although it does not see the job's mounts.
        assert_eq!(exit_code, Some(3));
        assert!(format!("{error:?}").contains("oops"), "{error:?}");
        let ended = |phase: &ReportPhase| matches!(phase, ReportPhase::Ended { .. });
        let report = host.report(&job, ended).await;
        let path = export.join(job.uid.as_str()).join("stdouterr");
        assert_eq!(report.directories[0].path, path.to_str().unwrap());
        assert_eq!(report.directories[0].root.as_deref(), export.to_str());
        assert!(path.join("stdout.txt").exists());
    });
}
