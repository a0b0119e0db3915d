//! Processes that start others on the nodes of their job: by hand, by Open MPI and by MPICH.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use lote_test_hosts::{HostDaemon, Lab, LabOptions};
use lote_tests::client::{Client, DEFAULT_WORKSPACE, detail, first_error};
use lote_tests::{mpi, wait_for};
use serde_json::{Value, json};

use crate::load::{CLUSTER, RECOVERY, assert_nothing_left, cluster, shared_folder};

/// What scripts begin with: the program, this node's address and the other nodes'.
const HEAD: &str = "R=$LOTE_PEER_LAUNCHER; IFS=, read -r A B C D <<< $AZ_BATCH_HOST_LIST; ";

/// Adds up the numbers of all ranks and says where each runs.
const SUM: &str = r#"
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int count, char **words) {
    MPI_Init(&count, &words);
    int rank, size, sum;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    printf("rank %d of %d on %s: %d %s\n", rank, size, getenv("AZ_BATCH_NODE_ID"), sum,
           getenv("MINE") ? getenv("MINE") : "-");
    fflush(stdout);
    if (count > 1 && rank == 1) { exit(atoi(words[1])); }
    if (count > 1) { pause(); }
    MPI_Finalize();
}
"#;

/// A site whose jobs take all of its hosts.
struct Site {
    lab: Lab,
    client: Client,
    experiment: String,
    shared: PathBuf,
}

impl Site {
    fn start(hosts: u8) -> Self {
        Self::of(&LabOptions::hosts(hosts))
    }

    fn of(options: &LabOptions) -> Self {
        let hosts = options.hosts;
        let lab = Lab::start(&options.clone().with_same_paths());
        let client = lab.client();
        cluster(&client, CLUSTER, hosts.into());
        let experiment = client.experiment("e");
        let shared = shared_folder(&lab);
        Self {
            lab,
            client,
            experiment,
            shared,
        }
    }

    /// Submits a script that runs on the first of all hosts.
    fn submit(&self, name: &str, script: &str) -> String {
        self.submit_with(name, script, &json!({}))
    }

    fn submit_with(&self, name: &str, script: &str, more: &Value) -> String {
        let file = self.shared.join(format!("{name}.sh"));
        fs::write(&file, format!("{HEAD}\n{script}\n")).unwrap();
        let mut job = json!({
            "cluster": {"id": format!("{DEFAULT_WORKSPACE}/clusters/{CLUSTER}")},
            "nodeCount": self.lab.daemons.len(),
            "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT",
            "customToolkitSettings": {"commandLine": format!("bash {}", file.display())},
            "lote": {"gracePeriod": "PT2S"},
        });
        for (member, value) in more.as_object().into_iter().flatten() {
            job[member] = value.clone();
        }
        self.client.submit(&self.experiment, name, &job)
    }

    /// Runs a script to its good end; what it wrote.
    fn run(&self, name: &str, script: &str, more: &Value) -> String {
        let job = self.submit_with(name, script, more);
        let ended = self.client.wait_for_end(&job);
        let output = self.client.stdout(&job);
        let errors = self.client.output(&job, "stdouterr", "stderr.txt");
        assert_eq!(
            ended["executionState"],
            "succeeded",
            "{ended:#}\n{output}\n{errors:?}\n{}",
            self.lab.daemons[1].log()
        );
        output
    }

    /// The program that adds up, for one kind of MPI.
    fn sum(&self, compiler: &str) -> String {
        let program = self.shared.join(format!("sum-{compiler}"));
        mpi::compile(compiler, SUM, &program);
        program.display().to_string()
    }

    fn wait_for_file(&self, name: &str) -> String {
        let path = self.shared.join(name);
        wait_for(&format!("the file {name}"), RECOVERY, || {
            fs::read_to_string(&path)
                .ok()
                .filter(|text| text.ends_with('\n'))
        })
    }
}

/// Each rank said where it is, and all have the same sum.
fn assert_summed(output: &str, ranks: usize, mine: &str) {
    let sum = ranks * (ranks - 1) / 2;
    for rank in 0..ranks {
        let begin = format!("rank {rank} of {ranks} on ");
        let end = format!(": {sum} {mine}");
        let said = |line: &&str| line.starts_with(&begin) && line.ends_with(&end);
        assert!(output.lines().any(|line| said(&line)), "{rank}: {output}");
    }
}

/// How many ranks each host had.
fn ranks_on(output: &str, host: &str) -> usize {
    output.matches(&format!(" on {host}: ")).count()
}

#[test]
fn a_command_runs_there_as_it_would_by_ssh() {
    let site = Site::start(2);
    let shared = site.shared.display();
    let script = format!(
        r#"
set -u
export MINE="one two"$'\n'"three" SEEN_THERE=no
echo "where: $($R $B 'echo $AZ_BATCH_NODE_ID $AZ_BATCH_IS_CURRENT_NODE_MASTER') $($R $A 'echo $AZ_BATCH_NODE_ID $AZ_BATCH_IS_CURRENT_NODE_MASTER')"
echo "by name: $($R h1 -l somebody 'echo $AZ_BATCH_NODE_ID') $($R -q -o BatchMode=yes -x root@h2 'echo $AZ_BATCH_NODE_ID')"
echo "words: $($R $B echo a\ \ b "'c  d'" '$((1+1))')"
echo "variable: $($R $B 'echo "$MINE" | tr "\n" /')"
echo "secret: $($R $B 'echo ${{#TOKEN}} $TOKEN | md5sum')" "$(echo ${{#TOKEN}} $TOKEN | md5sum)"
echo "user: $($R $B 'id -u; cat /proc/self/status | grep NoNewPrivs; pwd') / $(id -u) $(pwd)" | tr '\n\t' '  '; echo
$R $B 'exit 7'; echo "code: $?"
$R $B 'kill -TERM $$'; echo "signal: $?"
$R $B 'no-such-command-here' 2>/dev/null; echo "unknown: $?"
echo "input: $(printf 'a\nb\n' | $R $B 'cat; echo end' | tr '\n' ' ')"
echo "no input: $(printf 'a\nb\n' | $R -n $B 'cat; echo end' | tr '\n' ' ')"
head -c 5000000 /dev/urandom > {shared}/bytes
echo "much: $($R $B 'cat | md5sum' < {shared}/bytes) $($R $B 'cat' < {shared}/bytes | md5sum) $(md5sum < {shared}/bytes)"
echo "streams: $($R $B 'echo out; echo err >&2' 2>{shared}/err) $(cat {shared}/err)"
$R 192.0.2.9 true 2> {shared}/stranger; echo "stranger: $? $(cat {shared}/stranger)"
$R -Z $B true 2> /dev/null; echo "option: $?"
coproc $R $B 'trap "echo got it; exit 3" TERM; echo ready; while :; do sleep 0.1; done'
pid=$COPROC_PID; exec 5<&${{COPROC[0]}}; read -r line <&5; kill -TERM $pid; read -r more <&5; wait $pid
echo "passed on: $line $more $?"
$R $B 'echo $$ > {shared}/pid; exec sleep 1000' & until [ -s {shared}/pid ]; do sleep 0.05; done
kill -KILL $!; pid=$(cat {shared}/pid); until ! $R $B "kill -0 $pid" 2>/dev/null; do sleep 0.1; done
echo "hung up"
$R $B 'setsid sh -c "echo \$\$ > {shared}/daemon; exec sleep 1000" > /dev/null 2>&1 < /dev/null &'
until [ -s {shared}/daemon ]; do sleep 0.05; done; $R $B "kill -0 $(cat {shared}/daemon)"; echo "daemon: $?"
seq 40 | xargs -P 20 -I% $R $B 'echo %' | sort -n | tr '\n' ' '; echo
"#
    );
    let more = json!({"secrets": [{"name": "TOKEN", "value": "hunter2-secret"}]});
    let output = site.run("by-hand", &script, &more);
    let line = |name: &str| {
        let begin = format!("{name}: ");
        let found = output.lines().find_map(|line| line.strip_prefix(&begin));
        found
            .unwrap_or_else(|| panic!("no line {name} in\n{output}"))
            .to_owned()
    };
    assert_eq!(line("where"), "h2 false h1 true");
    assert_eq!(line("by name"), "h1 h2");
    assert_eq!(line("words"), "a b c  d 2");
    assert_eq!(line("variable"), "one two/three/");
    let secret = line("secret");
    let (there, here) = secret.split_at(secret.len() / 2);
    assert_eq!(there.trim(), here.trim());
    let user = line("user");
    let (there, here) = user.split_once(" / ").unwrap();
    assert_eq!(there.split(' ').next(), here.split(' ').next(), "{user}");
    assert!(there.contains("NoNewPrivs: 1"), "{user}");
    assert_eq!(line("code"), "7");
    assert_eq!(line("signal"), "143");
    assert_eq!(line("unknown"), "127");
    assert_eq!(line("input"), "a b end ");
    assert_eq!(line("no input"), "end ");
    let sums = line("much");
    let sums: Vec<&str> = sums.split(' ').filter(|word| word.len() == 32).collect();
    assert_eq!(sums, [sums[0]; 3]);
    assert_eq!(line("streams"), "out err");
    let stranger = line("stranger");
    assert!(
        stranger.starts_with("255 lote-rsh: '192.0.2.9' is no node of this job"),
        "{stranger}"
    );
    assert!(stranger.contains("h1 ("), "{stranger}");
    assert_eq!(line("option"), "255");
    assert_eq!(line("passed on"), "ready got it 3");
    assert!(output.contains("hung up"), "{output}");
    assert_eq!(line("daemon"), "0");
    let numbers: Vec<String> = (1..=40).map(|number| number.to_string()).collect();
    assert!(output.contains(&numbers.join(" ")), "{output}");
    for daemon in &site.lab.daemons {
        assert!(!daemon.log().contains("hunter2"), "{}", daemon.log());
    }
    assert_nothing_left(&site.lab.daemons);
}

#[test]
fn open_mpi_and_mpich_start_their_ranks_on_two_hosts() {
    let site = Site::start(2);
    let open_mpi = format!(
        "MINE=here mpirun.openmpi -np 4 --oversubscribe --map-by node \
         --hostfile $AZ_BATCHAI_MPI_HOST_FILE -x MINE {}",
        site.sum("mpicc.openmpi")
    );
    let output = site.run("open-mpi", &open_mpi, &json!({}));
    assert_summed(&output, 4, "here");
    assert_eq!((ranks_on(&output, "h1"), ranks_on(&output, "h2")), (2, 2));
    let mpich = format!(
        "export MINE=there; mpiexec.hydra -localhost $A -n 4 -ppn 2 -hosts $AZ_BATCH_HOST_LIST {}",
        site.sum("mpicc.mpich")
    );
    let output = site.run("mpich", &mpich, &json!({}));
    assert_summed(&output, 4, "there");
    assert_eq!((ranks_on(&output, "h1"), ranks_on(&output, "h2")), (2, 2));
    assert_nothing_left(&site.lab.daemons);
}

#[test]
fn sixty_four_ranks_on_four_hosts_one_of_which_dies() {
    let site = Site::of(&LabOptions::hosts(4).alone());
    let sum = site.sum("mpicc.openmpi");
    let start = format!(
        "mpirun.openmpi -np 64 --oversubscribe --bind-to none --map-by node \
         --hostfile $AZ_BATCHAI_MPI_HOST_FILE {sum}"
    );
    let output = site.run("many", &start, &json!({}));
    assert_summed(&output, 64, "-");
    for daemon in &site.lab.daemons {
        assert_eq!(ranks_on(&output, daemon.name()), 16, "{output}");
    }
    // Rank 1 ends with a code, the others would wait for ever.
    let job = site.submit("dies", &format!("{start} 9"));
    let ended = site.client.wait_for_end(&job);
    assert_eq!(ended["executionState"], "failed", "{ended:#}");
    assert_eq!(ended["executionInfo"]["exitCode"], 9, "{ended:#}");
    let error = first_error(&ended);
    assert_eq!(detail(&error, "node"), "h1", "{error:#}");
    assert_eq!(detail(&error, "status"), "exit code 9", "{error:#}");
    assert!(
        detail(&error, "stderr").contains("Exit code:    9"),
        "{error:#}"
    );
    assert_nothing_left(&site.lab.daemons);
}

#[test]
fn terminate_leaves_nothing_on_any_host() {
    let site = Site::start(2);
    for (name, start) in [
        (
            "open-mpi",
            "mpirun.openmpi -np 4 --oversubscribe --map-by node \
             --hostfile $AZ_BATCHAI_MPI_HOST_FILE",
        ),
        (
            "mpich",
            "mpiexec.hydra -localhost $A -n 4 -ppn 2 -hosts $AZ_BATCH_HOST_LIST",
        ),
    ] {
        let here = site.shared.join(name);
        let script = format!(
            "{start} bash -c 'trap \"\" TERM HUP; echo $AZ_BATCH_NODE_ID >> {}; \
             while :; do sleep 1; done'",
            here.display()
        );
        let job = site.submit(name, &script);
        wait_for("four processes", RECOVERY, || {
            let there = fs::read_to_string(&here).unwrap_or_default();
            (there.lines().count() == 4).then_some(())
        });
        let marker = site.shared.display().to_string();
        let lives_on = |daemon: &HostDaemon| daemon.host.processes_mentioning(&marker).len();
        assert!(site.lab.daemons.iter().all(|daemon| lives_on(daemon) > 0));
        let answer = site.client.post(&format!("{job}/terminate"));
        assert!(matches!(answer.status, 200 | 202), "{answer:?}");
        let ended = site.client.wait_for_end(&job);
        assert_eq!(ended["executionState"], "failed", "{ended:#}");
        assert_nothing_left(&site.lab.daemons);
        for daemon in &site.lab.daemons {
            // The programs mention the folder of the job in their environment.
            assert_eq!(lives_on(daemon), 0, "{}", daemon.name());
            let peers = fs::read_dir(daemon.data().join("peer")).unwrap();
            let left: Vec<_> = peers.flatten().map(|entry| entry.file_name()).collect();
            assert_eq!(left, ["lote-rsh"]);
        }
    }
}

#[test]
fn daemons_are_killed_under_running_ranks_and_nobody_notices() {
    let mut site = Site::start(2);
    let shared = site.shared.display().to_string();
    let go = site.shared.join("go");
    let wait = format!("until [ -e {} ]; do sleep 0.1; done", go.display());
    let script = format!(
        "($R $B 'echo before; {wait}; echo after; exit 5'; echo $?) > {shared}/said &\n\
         mpiexec.hydra -localhost $A -n 4 -ppn 2 -hosts $AZ_BATCH_HOST_LIST \
         bash -c 'echo $AZ_BATCH_NODE_ID >> {shared}/here; {wait}; echo done' || exit 1\n\
         wait"
    );
    let job = site.submit("killed", &script);
    wait_for("four processes and one by hand", RECOVERY, || {
        let there = fs::read_to_string(site.shared.join("here")).unwrap_or_default();
        let said = fs::read_to_string(site.shared.join("said")).unwrap_or_default();
        (there.lines().count() == 4 && said == "before\n").then_some(())
    });
    for index in [1, 0] {
        site.lab.daemons[index].kill();
        site.lab.daemons[index].start();
        site.lab.daemons[index].wait_until_ready();
    }
    // What ends while its node's daemon is away is told afterwards.
    site.lab.daemons[1].kill();
    fs::write(&go, "").unwrap();
    wait_for("the ranks there to end", RECOVERY, || {
        let left = site.lab.daemons[1].host.processes_mentioning(&wait);
        left.is_empty().then_some(())
    });
    site.lab.daemons[1].start();
    site.lab.daemons[1].wait_until_ready();
    let client = site.lab.daemons[0].client();
    let ended = client.wait_for_end(&job);
    assert_eq!(ended["executionState"], "succeeded", "{ended:#}");
    assert_eq!(client.stdout(&job).matches("done").count(), 4);
    let said = fs::read_to_string(site.shared.join("said")).unwrap();
    assert_eq!(said, "before\nafter\n5\n");
    assert_nothing_left(&site.lab.daemons);
}

/// What `lote-rsh` of a job says when it is called from somewhere else.
fn refusal(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn nobody_else_starts_anything() {
    let site = Site::start(4);
    // Two jobs of one workspace, and so of one user, on two hosts each.
    let two = json!({"nodeCount": 2});
    let shared = site.shared.display();
    let hold = |name: &str| {
        format!(
            "echo $R $A $B $C > {shared}/{name}.in; $R $B 'id -u' > {shared}/{name}.user; \
             until [ -e {shared}/{name}.try ]; do sleep 0.05; done; \
             . {shared}/{name}.try > {shared}/{name}.said 2>&1; echo end >> {shared}/{name}.said; \
             until [ -e {shared}/{name}.stop ]; do sleep 0.05; done"
        )
    };
    let jobs = ["one", "other"].map(|name| site.submit_with(name, &hold(name), &two));
    let [one, other] = ["one", "other"].map(|name| {
        let text = site.wait_for_file(&format!("{name}.in"));
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        site.wait_for_file(&format!("{name}.user"));
        words
    });
    // A process of the machine that is not the job's, even of root or the same user.
    let host = site
        .lab
        .daemons
        .iter()
        .find(|daemon| daemon.host.address() == one[1]);
    let host = host.unwrap();
    let runs = fs::read_dir(host.data().join("peer")).unwrap();
    let directory = runs
        .flatten()
        .find(|entry| entry.path().is_dir())
        .unwrap()
        .path();
    let program = directory.join("lote-rsh");
    let said = refusal(host.host.command(&program).args([&one[2], "true"]));
    assert!(said.contains("only processes of the job"), "{said}");
    // The user of the job does not even get there from outside.
    let user = site.wait_for_file("one.user");
    let mut as_user = host.host.command("setpriv");
    as_user.args(["--reuid", user.trim(), "--clear-groups"]);
    let output = as_user
        .arg(&program)
        .args([&one[2], "true"])
        .output()
        .unwrap();
    assert!(!output.status.success(), "{output:?}");
    // Another job reaches its own nodes only.
    let attempt = format!("$R {} true; echo code $?; $R $A 'echo mine'\n", one[2]);
    fs::write(site.shared.join("other.try.new"), attempt).unwrap();
    fs::rename(
        site.shared.join("other.try.new"),
        site.shared.join("other.try"),
    )
    .unwrap();
    let said = wait_for("the attempts", RECOVERY, || {
        let said = fs::read_to_string(site.shared.join("other.said")).ok()?;
        said.ends_with("end\n").then_some(said)
    });
    assert!(said.contains("is no node of this job"), "{said}");
    assert!(said.contains("code 255"), "{said}");
    assert!(said.contains("mine"), "{said}");
    assert_ne!(one[2], other[2]);
    // After the end nothing answers.
    fs::write(site.shared.join("one.try"), "").unwrap();
    fs::write(site.shared.join("one.stop"), "").unwrap();
    fs::write(site.shared.join("other.stop"), "").unwrap();
    for job in &jobs {
        let ended = site.client.wait_for_end(job);
        assert_eq!(ended["executionState"], "succeeded", "{ended:#}");
    }
    assert_nothing_left(&site.lab.daemons);
    assert!(!directory.exists());
}

#[test]
fn a_job_of_the_same_user_on_the_same_hosts_is_a_stranger() {
    let site = Site::start(2);
    let shared = site.shared.display();
    let share = json!({"lote": {"resources": {"cpusPerNode": 0.5, "memory": "128m"}}});
    let mine = format!(
        "echo $$ $R > {shared}/mine; until [ -e {shared}/done ]; do sleep 0.05; done; \
         $R $B 'echo still here'"
    );
    let mine = site.submit_with("mine", &mine, &share);
    let told = site.wait_for_file("mine");
    let (pid, program) = told.trim().split_once(' ').unwrap();
    let peer = program.trim_end_matches("/lote-rsh");
    // Through the files of a process of its user, it gets to the socket; there it ends.
    let theirs = format!(
        "ls -A {peer}; {program} $B true; echo code $?\n\
         python3 -c 'import os, socket; os.chdir(\"/proc/{pid}/root{peer}\"); \
         s = socket.socket(socket.AF_UNIX); s.connect(\"socket\"); print(s.recv(4096))'\n\
         touch {shared}/done"
    );
    let output = site.run("theirs", &theirs, &share);
    assert!(output.contains("code 127"), "{output}");
    let refused = "only processes of the job may start others";
    assert!(output.contains(refused), "{output}");
    let ended = site.client.wait_for_end(&mine);
    assert_eq!(ended["executionState"], "succeeded", "{ended:#}");
    assert_eq!(site.client.stdout(&mine), "still here\n");
    assert_nothing_left(&site.lab.daemons);
}

#[test]
fn what_is_killed_for_want_of_memory_on_another_node_is_told() {
    let site = Site::start(2);
    let share = json!({"lote": {"resources": {"cpusPerNode": 0.5, "memory": "64m"}}});
    let eat = "$R $B 'exec python3 -c \"x = bytearray(1 << 30)\"'; echo code $?";
    let job = site.submit_with("eats", eat, &share);
    let ended = site.client.wait_for_end(&job);
    assert_eq!(ended["executionState"], "succeeded", "{ended:#}");
    assert_eq!(site.client.stdout(&job), "code 137\n");
    let logs = ["h1", "h2"].map(|host| format!("execution-{host}.log"));
    let log = |name: &String| site.client.output(&job, "stdouterr", name);
    let log = logs.iter().filter_map(log).collect::<String>();
    assert!(log.contains("remote start from node"), "{log}");
    assert!(
        log.contains("more than its memory here (64.0 MiB)"),
        "{log}"
    );
}
