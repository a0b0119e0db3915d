//! Following a job: output as it comes, restarts of the daemon, Ctrl-C.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::stub::{Reply, Request, Stub};
use crate::terminal::Terminal;

/// A job as the stub tells it; tests change it while a command follows it.
#[derive(Default)]
struct World {
    state: String,
    exit_code: Option<i64>,
    errors: Value,
    processes: usize,
    files: BTreeMap<String, String>,
    /// How many times each file's stream is cut off before its end.
    cuts: usize,
    /// Whether the daemon is away.
    away: bool,
    terminations: usize,
}

#[derive(Clone, Default)]
struct Shared(Arc<(Mutex<World>, Condvar)>);

impl Shared {
    fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    /// Waits for a change, a second at most: connections that nobody reads must end.
    fn wait<T>(&self, mut ready: impl FnMut(&World) -> Option<T>) -> Option<T> {
        let mut found = None;
        let guard = self.0.0.lock().unwrap();
        let _ = self
            .0
            .1
            .wait_timeout_while(guard, Duration::from_secs(20), |world| {
                found = ready(world);
                found.is_none()
            })
            .unwrap();
        found
    }

    fn write(&self, file: &str, text: &str) {
        self.change(|world| world.files.entry(file.into()).or_default().push_str(text));
    }

    fn end(&self, state: &str, exit_code: i64) {
        self.change(|world| {
            world.state = state.into();
            world.exit_code = Some(exit_code);
        });
    }

    fn is_over(world: &World) -> bool {
        ["succeeded", "failed"].contains(&world.state.as_str())
    }

    fn job(world: &World) -> Value {
        let mut info = json!({"startTime": "2026-08-04T10:00:00Z"});
        if Self::is_over(world) {
            info["endTime"] = json!("2026-08-04T10:00:02Z");
            info["exitCode"] = json!(world.exit_code);
            info["errors"] = world.errors.clone();
        }
        json!({"name": "j", "properties": {"nodeCount": 1, "toolType": "custom", "cluster": {"id": "/c"},
            "executionState": world.state, "executionInfo": info, "lote": {"nodes": ["n1"]}}})
    }

    fn answer(&self, request: &Request) -> Reply {
        let guard = self.0.0.lock().unwrap();
        let world = &*guard;
        let path = request.path();
        if world.away {
            return Reply::error(503, "StoreUnavailable", "away");
        }
        if path.ends_with("/events") {
            let shared = self.clone();
            return Reply::Stream(Box::new(move |chunks| shared.tell_events(chunks)));
        }
        if path.ends_with("/logs") {
            let file = request
                .target
                .split("file=")
                .nth(1)
                .unwrap()
                .split('&')
                .next()
                .unwrap()
                .to_owned();
            let shared = self.clone();
            return Reply::Stream(Box::new(move |chunks| shared.tell_file(&file, chunks)));
        }
        if path.ends_with("/listOutputFiles") {
            let files: Vec<Value> = world
                .files
                .iter()
                .map(|(name, text)| json!({"name": name, "fileType": "file", "properties": {"contentLength": text.len()}}))
                .collect();
            return Reply::json(200, &json!({"value": files}));
        }
        if path.ends_with("/plan") {
            let labels = (0..world.processes).map(|rank| match world.processes {
                1 => json!({}),
                _ => json!({"output": rank.to_string()}),
            });
            let processes: Vec<Value> = labels.collect();
            return Reply::json(200, &json!({"processes": processes}));
        }
        if path.ends_with("/terminate") {
            drop(guard);
            self.change(|world| world.terminations += 1);
            return Reply::Whole(
                202,
                vec![("Azure-AsyncOperation", "/v1/operations/1".into())],
                String::new(),
            );
        }
        Reply::json(200, &Self::job(world))
    }

    /// One event per change of the state.
    fn tell_events(&self, chunks: &mut crate::stub::Chunks<'_>) -> std::io::Result<()> {
        let mut last = String::new();
        while !["succeeded", "failed"].contains(&last.as_str()) {
            let news = self.wait(|world| (world.state != last).then(|| world.state.clone()));
            let Some(state) = news else { return Ok(()) };
            chunks.send("event: status\nid: 1\ndata: {}\n\n")?;
            last = state;
        }
        Ok(())
    }

    fn tell_file(&self, name: &str, chunks: &mut crate::stub::Chunks<'_>) -> std::io::Result<()> {
        let mut told = 0;
        loop {
            let piece = self.wait(|world| {
                let text = world.files.get(name).map_or("", String::as_str);
                let piece = text[told..].to_owned();
                (!piece.is_empty() || Self::is_over(world) || world.cuts > 0)
                    .then_some((piece, world.cuts))
            });
            let Some((piece, cuts)) = piece else {
                return Ok(());
            };
            if piece.is_empty() && cuts == 0 {
                return Ok(());
            }
            if !piece.is_empty() {
                chunks.send(&piece)?;
                told += piece.len();
            }
            if cuts > 0 {
                self.change(|world| world.cuts -= 1);
                return Err(std::io::Error::other("cut"));
            }
        }
    }
}

/// A test that fails must not wait for the end of a job that nobody ends any more.
struct EndOnPanic<'a>(&'a Shared);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.change(|world| world.away = false);
            self.0.end("failed", 1);
        }
    }
}

fn started(state: &str, processes: usize) -> (Shared, Stub) {
    let shared = Shared::default();
    shared.change(|world| {
        world.state = state.into();
        world.processes = processes;
        world.errors = json!([]);
    });
    let answering = shared.clone();
    let stub = Stub::start(move |request| answering.answer(request));
    (shared, stub)
}

#[test]
fn output_is_shown_as_it_is_written_and_the_code_is_the_jobs() {
    let (job, stub) = started("running", 1);
    let terminal = Terminal::new();
    std::thread::scope(|scope| {
        let _end = EndOnPanic(&job);
        let following = scope.spawn(|| terminal.run(&stub.url, "run --name j -- date"));
        terminal.err.wait_for("running on n1");
        job.write("stdout.txt", "no line end yet");
        // Shown although neither the line nor the job has ended.
        terminal.out.wait_for("no line end yet");
        job.write("stderr.txt", "a warning\n");
        terminal.err.wait_for("a warning\n");
        job.write("stdout.txt", ", now\n");
        job.write("execution.log", "not the process's");
        job.end("failed", 3);
        let run = following.join().unwrap();
        assert_eq!(run.code, 3, "{}", run.err);
        assert_eq!(run.out, "no line end yet, now\n");
        assert!(
            run.err
                .contains("job j failed with exit code 3 after 2.0 s"),
            "{}",
            run.err
        );
    });
}

#[test]
fn output_written_just_before_the_end_is_not_lost() {
    let (job, stub) = started("queued", 1);
    let terminal = Terminal::new();
    std::thread::scope(|scope| {
        let _end = EndOnPanic(&job);
        let following = scope.spawn(|| terminal.run(&stub.url, "run --name j -- date"));
        terminal.err.wait_for("job j is queued");
        job.write("stdout.txt", "all at once\n");
        job.end("succeeded", 0);
        let run = following.join().unwrap();
        assert_eq!(
            (run.code, run.out.as_str()),
            (0, "all at once\n"),
            "{}",
            run.err
        );
    });
}

#[test]
fn several_processes_are_told_apart() {
    let (job, stub) = started("running", 2);
    let terminal = Terminal::new();
    std::thread::scope(|scope| {
        let _end = EndOnPanic(&job);
        let following = scope.spawn(|| terminal.run(&stub.url, "job logs -f j"));
        job.write("stdout-0.txt", "first\n");
        terminal.out.wait_for("[0] first\n");
        // A file that no plan names is found as well.
        job.write("stdout-late.txt", "third\n");
        terminal.out.wait_for("[late] third\n");
        job.write("stdout-1.txt", "second\n");
        terminal.out.wait_for("[1] second\n");
        job.write("stderr-1.txt", "oops\n");
        terminal.err.wait_for("[1] oops\n");
        job.end("failed", 1);
        let run = following.join().unwrap();
        assert_eq!(
            (run.code, run.out.as_str()),
            (0, "[0] first\n[late] third\n[1] second\n")
        );
        assert_eq!(run.err, "[1] oops\n", "logs say nothing of their own");
    });
}

#[test]
fn a_broken_stream_goes_on_where_it_stopped() {
    let (job, stub) = started("running", 1);
    let terminal = Terminal::new();
    std::thread::scope(|scope| {
        let _end = EndOnPanic(&job);
        let following = scope.spawn(|| terminal.run(&stub.url, "job logs -f j"));
        job.write("stdout.txt", "one ");
        terminal.out.wait_for("one ");
        job.change(|world| {
            world.cuts = 1;
            world.away = true;
        });
        job.wait(|world| (world.cuts == 0).then_some(())).unwrap();
        job.write("stdout.txt", "two ");
        terminal.err.wait_for("does not answer");
        job.change(|world| world.away = false);
        terminal.out.wait_for("two ");
        job.write("stdout.txt", "three\n");
        job.end("succeeded", 0);
        let run = following.join().unwrap();
        assert_eq!(run.out, "one two three\n", "every byte once");
        assert!(run.err.contains("the daemon answers again"), "{}", run.err);
    });
}

#[test]
fn the_first_interrupt_terminates_and_the_second_leaves() {
    let (job, stub) = started("running", 1);
    let terminal = Terminal::new();
    let (press, pressed) = channel();
    let keys = Mutex::new(Some(pressed));
    std::thread::scope(|scope| {
        let _end = EndOnPanic(&job);
        let following = scope.spawn(|| {
            terminal.run_interrupted(&stub.url, "run --name j -- date", &|| source(&keys))
        });
        terminal.err.wait_for("running on n1");
        press_key(&press);
        terminal.err.wait_for("terminating the job");
        job.wait(|world| (world.terminations == 1).then_some(()))
            .unwrap();
        press_key(&press);
        let run = following.join().unwrap();
        assert_eq!(run.code, 130, "{}", run.err);
        assert_eq!(
            stub.requests()
                .iter()
                .filter(|request| request.path().ends_with("/terminate"))
                .count(),
            1
        );
    });
}

fn source(keys: &Mutex<Option<Receiver<()>>>) -> lote_cli::follow::interrupt::Interrupts {
    Box::new(keys.lock().unwrap().take().unwrap().into_iter())
}

fn press_key(press: &Sender<()>) {
    press.send(()).unwrap();
}

#[test]
fn a_job_that_is_waited_for_shows_why_it_failed() {
    let (job, stub) = started("running", 1);
    let terminal = Terminal::new();
    job.change(|world| {
        world.errors = json!([{"code": "JobFailed", "message": "Job failed with non-zero exit code",
            "details": [{"name": "node", "value": "n1"}, {"name": "stderr", "value": "Traceback\nValueError: x\n"}]}]);
    });
    job.end("failed", 7);
    let run = terminal.run(&stub.url, "job wait j");
    assert_eq!((run.code, run.out.as_str()), (7, ""));
    insta::assert_snapshot!(run.err);
}

#[test]
fn a_terminal_gets_one_line_that_changes() {
    let (job, stub) = started("queued", 1);
    let terminal = Terminal {
        live: true,
        ..Terminal::new()
    };
    std::thread::scope(|scope| {
        let _end = EndOnPanic(&job);
        let following = scope.spawn(|| terminal.run(&stub.url, "run --name j -- date"));
        terminal.err.wait_for("\r\x1b[Kjob j is queued");
        job.change(|world| world.state = "running".into());
        terminal.err.wait_for("\r\x1b[Kjob j is running on n1");
        job.write("stdout.txt", "x");
        terminal.out.wait_for("x");
        job.end("succeeded", 0);
        let run = following.join().unwrap();
        assert!(
            run.err.ends_with("\njob j succeeded after 2.0 s\n"),
            "{:?}",
            run.err
        );
        assert_eq!(run.out, "x");
    });
}
