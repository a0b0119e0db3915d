//! Jobs in containers: images that are made here, run as real jobs.

mod registry;

use std::path::Path;

use lote_tests::client::{Client, detail, first_error, shell_job};
use lote_tests::daemon::Daemon;
use lote_tests::images::{self, Shelf, section};
use lote_tests::{PATIENCE, mounts, processes, wait_for};
use serde_json::{Value, json};

/// Whether the tests can run here; says so if not.
fn can_run(test: &str) -> bool {
    if !crate::is_root_or_skip(test) {
        return false;
    }
    let missing = images::missing_program();
    if let Some(program) = missing {
        crate::skip(test, &format!("{program} is not installed"));
    }
    missing.is_none()
}

/// A job of one line in a container.
fn job(image: &str, command_line: &str) -> Value {
    let mut job = shell_job(command_line);
    job["containerSettings"] = json!({"imageSourceRegistry": {"image": image}});
    job
}

/// Runs a job to its end; it must succeed. What it printed.
fn printed(client: &Client, experiment: &str, name: &str, properties: &Value) -> String {
    let path = client.submit(experiment, name, properties);
    let ended = client.wait_for_end(&path);
    let errors = client.output(&path, "stdouterr", "stderr.txt");
    assert_eq!(ended["executionState"], "succeeded", "{ended:#} {errors:?}");
    client.stdout(&path)
}

/// A daemon whose only image, `box`, is one of busybox in an OCI layout.
fn started(config: &[&str]) -> (Shelf, Daemon) {
    let shelf = Shelf::new();
    let files = shelf.files("files");
    let layout = shelf.layout("layout", &files, config);
    let archive = shelf.archive("box.tar", &layout, "oci-archive");
    let table = format!(
        "[default]\npull = false\n{}",
        section("box", "archive", &archive)
    );
    let daemon = Daemon::start(&["--image-table", &shelf.table(&table)]);
    (shelf, daemon)
}

/// What of containers is left in a daemon's folder: mount points and directories.
fn left(daemon: &Daemon) -> Vec<std::path::PathBuf> {
    let data = daemon.data();
    let mut left = mounts::below(&data);
    let containers = std::fs::read_dir(data.join("containers"));
    left.extend(
        containers
            .into_iter()
            .flatten()
            .flatten()
            .map(|it| it.path()),
    );
    left
}

#[test]
fn every_kind_of_archive_and_directory_is_run_as_root_of_its_own() {
    let test = "every_kind_of_archive_and_directory_is_run_as_root_of_its_own";
    if !can_run(test) {
        return;
    }
    let shelf = Shelf::new();
    let files = shelf.files("files");
    let layout = shelf.layout("layout", &files, &[]);
    let oci = shelf.archive("oci.tar", &layout, "oci-archive");
    let docker = shelf.archive("docker.tar", &layout, "docker-archive");
    let table = [
        section("oci:1", "archive", &oci),
        section("docker:1", "archive", &docker),
        section("layout:*", "directory", &layout),
        section("files", "directory", &files),
        "[[image]]\nname = \"none\"\nhost = true\n".to_owned(),
    ];
    let daemon = Daemon::start(&["--image-table", &shelf.table(&table.concat())]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    for (index, image) in ["oci:1", "docker:1", "layout:2", "files"]
        .iter()
        .enumerate()
    {
        let line = "cat /etc/release; id -u; id -un; echo $HOME $SHELL; cat /srv/of-alice; \
                    stat -c '%u %g' /srv/of-alice; ls -a ~";
        let name = format!("j{index}");
        let text = printed(&client, &experiment, &name, &job(image, line));
        let expected = "the image of a test\n0\nroot\n/root /bin/sh\nhers\n100 100\n.\n..\n";
        assert_eq!(text, expected, "{image}");
    }
    let line = "test ! -e /etc/release && id -un && test -e /bin/bash";
    assert_eq!(
        printed(&client, &experiment, "host", &job("none", line)),
        "lote\n"
    );
    assert_eq!(left(&daemon), Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_preparation_changes_is_seen_by_the_job_and_gone_after_it() {
    if !can_run("what_preparation_changes_is_seen_by_the_job_and_gone_after_it") {
        return;
    }
    let (_shelf, daemon) = started(&[
        "--config.env",
        "OF_THE_IMAGE=a b",
        "--config.env",
        "OF_BOTH=image",
        "--config.env",
        "PATH=/opt/bin:/bin",
        "--config.workingdir",
        "/srv",
    ]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let line = "tool; echo $ANNOUNCED; echo $OF_THE_IMAGE, $OF_BOTH, $PATH; pwd; \
                echo $AZ_BATCHAI_JOB_WORK_DIR; rm /etc/release";
    let mut with = job("box", line);
    with["jobPreparation"] = json!({"commandLine":
        "mkdir -p /opt/bin && printf '#!/bin/sh\\necho installed\\n' > /opt/bin/tool && \
         chmod +x /opt/bin/tool && echo 'export ANNOUNCED=yes' >> ~/.bashrc"});
    with["environmentVariables"] = json!([{"name": "OF_BOTH", "value": "job"}]);
    let text = printed(&client, &experiment, "prepared", &with);
    let expected = "installed\nyes\na b, job, /opt/bin:/bin\n/srv\n/srv\n";
    assert_eq!(text, expected);
    let after = "ls /opt ~/.bashrc; cat /etc/release";
    let text = printed(&client, &experiment, "after", &job("box", after));
    assert_eq!(text, "the image of a test\n");
    assert_eq!(left(&daemon), Vec::<std::path::PathBuf>::new());
}

#[test]
fn root_inside_is_nobody_outside() {
    if !can_run("root_inside_is_nobody_outside") {
        return;
    }
    let (shelf, daemon) = started(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let data = daemon.data();
    // Each line is one that must fail; it prints what it could do.
    let attempts = [
        "mknod /tmp/memory c 1 1",
        "mknod /dev/disk b 8 0",
        "mount -t tmpfs none /srv",
        "mount --bind /etc /srv",
        "mount -o remount,rw /sys",
        "umount /proc",
        "umount /tmp",
        "touch /sys/kernel/mm/x",
        "echo 1 > /proc/sys/kernel/panic",
        "echo x > /proc/sysrq-trigger",
        "ls /proc/1/root/",
        "cat /proc/1/environ",
        "kill -0 1",
        &format!("kill -0 {}", daemon.pid()),
        &format!("ls {}/run", data.display()),
        &format!("cat {}/cluster.key", data.display()),
        &format!("cat {}", shelf.path("images.toml").display()),
        &format!("ls {}/images", data.display()),
        "cat /etc/shadow",
        "echo x >> /etc/hosts",
        "dd if=/dev/mem of=/dev/null count=1",
    ];
    let tried = attempts.map(|it| format!("({it}) 2>/dev/null && echo \"could: {it}\"\n"));
    let mut line = tried.concat();
    line += "touch $AZ_BATCHAI_MOUNT_ROOT/mine\n\
             chown 100:100 /srv && su alice -c 'touch /srv/x && id -u' && stat -c %u /srv/x\n\
             grep -i -e NoNewPrivs -e CapEff -e Groups /proc/self/status | tr -d '\\t '\n";
    let text = printed(&client, &experiment, "j", &job("box", &line));
    let expected = "100\n100\nGroups:\nCapEff:00000000800401fb\nNoNewPrivs:1\n";
    assert!(!text.contains("could"), "{text}");
    for part in expected.lines() {
        assert!(text.lines().any(|line| line == part), "{part}: {text}");
    }
    // What it made on the machine is its user's.
    let users = data.join("work/users");
    let user = std::fs::read_dir(users).unwrap().next().unwrap().unwrap();
    let mine = user.path().join("mounts/local/mine");
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(mine).unwrap());
    assert_eq!(owner.to_string(), user.file_name().to_string_lossy());
}

#[test]
fn limits_shared_memory_and_exit_codes_are_those_of_any_job() {
    if !can_run("limits_shared_memory_and_exit_codes_are_those_of_any_job") {
        return;
    }
    let (_shelf, daemon) = started(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let mut shared = job(
        "box",
        "df -k /dev/shm | awk 'END {print $2}'; ls /dev | sort | tr '\\n' ' '",
    );
    shared["containerSettings"]["shmSize"] = json!("24m");
    let text = printed(&client, &experiment, "shm", &shared);
    let (size, devices) = text.split_once('\n').unwrap();
    assert_eq!(size, "24576");
    assert!(
        devices.contains("null") && devices.contains("shm"),
        "{devices}"
    );
    for absent in ["mem ", "vda", "sda", "kmsg"] {
        assert!(!devices.contains(absent), "{devices}");
    }
    let path = client.submit(&experiment, "code", &job("box", "exit 7"));
    let ended = client.wait_for_end(&path);
    assert_eq!(ended["executionInfo"]["exitCode"], 7);
    assert_eq!(first_error(&ended)["code"], "JobFailed");
    // Of /dev/shm, because busybox has no other use for memory.
    let mut hungry = job("box", "dd if=/dev/zero of=/dev/shm/x bs=1M count=200");
    hungry["containerSettings"]["shmSize"] = json!("300m");
    hungry["lote"] = json!({"resources": {"cpusPerNode": 1, "memory": "48m"}});
    let path = client.submit(&experiment, "memory", &hungry);
    let error = first_error(&client.wait_for_end(&path));
    assert_eq!(error["code"], "JobOutOfMemory", "{error}");
    assert_eq!(left(&daemon), Vec::<std::path::PathBuf>::new());
}

#[test]
fn file_systems_are_at_the_same_paths() {
    if !can_run("file_systems_are_at_the_same_paths") {
        return;
    }
    let shelf = Shelf::new();
    let files = shelf.files("files");
    let share = shelf.path("share");
    let storage = shelf.path("storage.toml");
    std::fs::write(
        &storage,
        format!(
            "\"acc/share\" = {{ directory = \"{}\", create = true, owner = \"job\" }}\n",
            share.display()
        ),
    )
    .unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&storage, mode).unwrap();
    let table = shelf.table(&section("box", "directory", &files));
    let storage = storage.to_string_lossy();
    let daemon = Daemon::start(&["--image-table", &table, "--storage-table", &storage]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let mut with = job(
        "box",
        "echo hello > $AZ_BATCHAI_JOB_MOUNT_ROOT/s/x; pwd; echo out",
    );
    with["mountVolumes"] = json!({"azureFileShares": [{"accountName": "acc",
        "azureFileUrl": "https://acc.file.core.windows.net/share", "relativeMountPath": "s",
        "credentials": {"accountKey": "a2V5"}}]});
    with["stdOutErrPathPrefix"] = json!("$AZ_BATCHAI_JOB_MOUNT_ROOT/s");
    let path = client.submit(&experiment, "j", &with);
    let ended = client.wait_for_end(&path);
    assert_eq!(ended["executionState"], "succeeded", "{ended:#}");
    assert_eq!(std::fs::read_to_string(share.join("x")).unwrap(), "hello\n");
    let found = walk(&share);
    let output = found
        .iter()
        .find(|path| path.ends_with("stdout.txt"))
        .unwrap();
    let text = std::fs::read_to_string(output).unwrap();
    assert!(text.contains("/scratch\nout\n"), "{text}");
    let mut lost = job("box", "true");
    lost["stdOutErrPathPrefix"] = json!("/srv");
    let path = client.submit(&experiment, "lost", &lost);
    let error = first_error(&client.wait_for_end(&path));
    assert_eq!(error["code"], "FailedStartingContainer");
    assert!(
        error["message"].as_str().unwrap().contains("'/srv/"),
        "{error}"
    );
    assert_eq!(left(&daemon), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_node_that_runs_no_containers_gets_no_job_with_an_image() {
    if !can_run("a_node_that_runs_no_containers_gets_no_job_with_an_image") {
        return;
    }
    let shelf = Shelf::new();
    let table = shelf.table("");
    let mut daemon = Daemon::start(&["--isolation", "none", "--image-table", &table]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let path = client.submit(&experiment, "j", &job("box", "echo here"));
    let waiting = wait_for("the reason", PATIENCE, || {
        let job = client.job(&path);
        job["lote"]["waiting"].as_str().map(str::to_owned)
    });
    assert!(
        waiting.contains("asks for 1 node with containers"),
        "{waiting}"
    );
    assert_eq!(client.job(&path)["executionState"], "queued");

    // For this image it needs none.
    shelf.table("[[image]]\nname = 'box'\nhost = true\n");
    daemon.stop();
    daemon.restart();
    let ended = client.wait_for_end(&path);
    assert_eq!(ended["executionState"], "succeeded", "{ended:#}");
    assert_eq!(client.stdout(&path), "here\n");
}

fn walk(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn an_image_that_cannot_be_had_is_said_with_its_reason() {
    if !can_run("an_image_that_cannot_be_had_is_said_with_its_reason") {
        return;
    }
    let shelf = Shelf::new();
    let empty = shelf.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let broken = shelf.path("broken.tar");
    std::fs::write(&broken, "this is no archive").unwrap();
    let table = [
        "[default]\npull = false\n".to_owned(),
        section("empty", "directory", &empty),
        section("broken", "archive", &broken),
        section("gone", "archive", &shelf.path("gone.tar")),
    ];
    let table = shelf.table(&table.concat());
    let daemon = Daemon::start(&["--image-table", &table]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    for (image, reason) in [
        ("other", "no entry for it"),
        ("empty", "neither /bin/bash nor /bin/sh"),
        ("broken", "skopeo failed"),
        ("gone", "gone.tar"),
        ("no$name", "no name of an image"),
    ] {
        let name = image.replace('$', "-");
        let path = client.submit(&experiment, &name, &job(image, "true"));
        let ended = client.wait_for_end(&path);
        let error = first_error(&ended);
        assert_eq!(error["code"], "FailedStartingContainer", "{error}");
        assert_eq!(ended["executionInfo"]["exitCode"], -1);
        assert_eq!(detail(&error, "imageName"), image);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(reason), "{image}: {message}");
    }
    std::fs::set_permissions(&table, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let path = client.submit(&experiment, "open", &job("empty", "true"));
    let error = first_error(&client.wait_for_end(&path));
    assert!(
        error["message"].as_str().unwrap().contains("chmod 600"),
        "{error}"
    );
    assert_eq!(left(&daemon), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_container_outlives_the_daemon_and_nothing_stays_of_one_that_was_not_wanted() {
    let test = "a_container_outlives_the_daemon_and_nothing_stays_of_one_that_was_not_wanted";
    if !can_run(test) {
        return;
    }
    let (_shelf, mut daemon) = started(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let line = "echo up; touch /changed; while ! test -e $AZ_BATCHAI_MOUNT_ROOT/go; do sleep 0.05; \
                done; ls /changed";
    let path = client.submit(&experiment, "j", &job("box", line));
    wait_for("the job to be up", PATIENCE, || {
        (client.stdout(&path) == "up\n").then_some(())
    });
    daemon.kill();
    daemon.restart();
    let client = daemon.client();
    client.wait_for_state(&path, "running");
    let users = daemon.data().join("work/users");
    let user = std::fs::read_dir(users).unwrap().next().unwrap().unwrap();
    std::fs::write(user.path().join("mounts/local/go"), "").unwrap();
    let ended = client.wait_for_end(&path);
    assert_eq!(ended["executionState"], "succeeded", "{ended:#}");
    assert_eq!(client.stdout(&path), "up\n/changed\n");
    assert_eq!(left(&daemon), Vec::<std::path::PathBuf>::new());
    // One that is terminated while no daemon is there.
    let path = client.submit(&experiment, "k", &job("box", "echo up; sleep 1000"));
    wait_for("the job to be up", PATIENCE, || {
        (client.stdout(&path) == "up\n").then_some(())
    });
    assert!(!left(&daemon).is_empty());
    client.post(&format!("{path}/terminate"));
    daemon.kill();
    daemon.restart();
    let ended = daemon.client().wait_for_end(&path);
    assert_eq!(first_error(&ended)["code"], "JobTerminated");
    wait_for("everything to be gone", PATIENCE, || {
        left(&daemon).is_empty().then_some(())
    });
    let marker = format!("{}/work", daemon.data().display());
    assert_eq!(processes::mentioning(&marker), Vec::<i32>::new());
}
