//! What one request costs: processor time of the whole process per PUT and per
//! GET of a job, and the resident memory after many jobs and lists of them.
//!
//! `cargo run --release -p lote-api --example request_rate [JOBS]`
//!
//! The client runs in a process of its own, so that only the daemon's side is
//! counted; the store's commit thread is part of it.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use lote_api::{ApiConfig, ApiState, serve};
use lote_model::framework::{
    ChosenPlugin, Frameworks, PlanError, PlannedLaunch, PluginRequest, ValidatedSettings,
};
use lote_model::id::NodeName;
use lote_model::job::{ErrorRecord, FrameworkSettings};
use lote_model::plan::{AllocationInput, JobInput};
use lote_model::problem::Problem;
use lote_store::{EmbeddedOptions, EmbeddedStore};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Accepts everything.
struct NoPlugins;

impl Frameworks for NoPlugins {
    fn settings_members(&self) -> Vec<String> {
        vec!["customToolkitSettings".into()]
    }

    fn plugins(&self) -> Vec<lote_model::framework::PluginSummary> {
        Vec::new()
    }

    fn validate(&self, _: &PluginRequest, job: &JobInput) -> Result<ValidatedSettings, Problem> {
        Ok(ValidatedSettings {
            tool_type: "custom".into(),
            settings: job.settings.clone(),
            plugin: ChosenPlugin {
                name: "custom".into(),
                version: "1.0.0".into(),
                digest: "00".into(),
            },
            starts_peers: false,
        })
    }

    fn plan(
        &self,
        _: &FrameworkSettings,
        _: &JobInput,
        _: &AllocationInput,
    ) -> Result<PlannedLaunch, PlanError> {
        Err(PlanError::Failed(ErrorRecord::new(
            "None",
            "there are no plugins here",
        )))
    }
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("client") => client(arguments[1].parse()?, arguments[2].parse()?),
        jobs => daemon(jobs.map_or(Ok(10_000), str::parse)?),
    }
}

#[tokio::main]
async fn daemon(jobs: usize) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let store = Arc::new(EmbeddedStore::open(
        folder.path(),
        &EmbeddedOptions::default(),
    )?);
    let config = ApiConfig::new(NodeName::new("here"), [1; 32]);
    let state = ApiState::new(store, Arc::new(NoPlugins), config, Arc::new(Timestamp::now));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(serve(listener, state, std::future::pending()));
    let client = tokio::task::spawn_blocking(move || {
        measure(address, jobs).map_err(|error| error.to_string())
    });
    client.await??;
    server.abort();
    Ok(())
}

/// Starts the client and prints what each of its phases cost this process.
fn measure(address: SocketAddr, jobs: usize) -> Outcome<()> {
    let mut child = std::process::Command::new(std::env::current_exe()?)
        .args(["client", &address.to_string(), &jobs.to_string()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut go = child.stdin.take().ok_or("no pipe")?;
    let mut done = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
    for phase in ["set-up", "PUT job", "GET job", "list 1000 jobs"] {
        let (begin, cpu) = (Instant::now(), cpu_micros()?);
        writeln!(go, "go")?;
        let count: u32 = done.next().ok_or("the client ended")??.parse()?;
        let used = (cpu_micros()? - cpu) / f64::from(count);
        let wall = begin.elapsed().as_secs_f64() * 1e6 / f64::from(count);
        println!(
            "{phase}: {count} requests, {used:.0} us processor, {wall:.0} us wall; resident {} KiB",
            resident_kib()?
        );
    }
    child.wait()?;
    Ok(())
}

fn cpu_micros() -> Outcome<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros =
        |time: nix::sys::time::TimeVal| u32::try_from(time.num_microseconds()).map(f64::from);
    Ok(micros(usage.user_time())? + micros(usage.system_time())?)
}

fn resident_kib() -> Outcome<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").to_owned())
}

/// Eight connections, each with its share of the requests.
fn client(address: SocketAddr, jobs: usize) -> Outcome<()> {
    const CONNECTIONS: usize = 8;
    const JOBS: &str = "/v1/groups/g/workspaces/w/experiments/e/jobs";
    let cluster = r#"{"properties":{"vmSize":"cpu","userAccountSettings":{"adminUserName":"a"}}}"#;
    let job = r#"{"properties":{"cluster":{"id":"/v1/groups/g/workspaces/w/clusters/c"},"nodeCount":1,"stdOutErrPathPrefix":"/logs","customToolkitSettings":{"commandLine":"true"}}}"#;
    let in_turn = |requests: &(dyn Fn(usize) -> (String, String, String) + Sync),
                   count: usize|
     -> Outcome<()> {
        std::io::stdin().lines().next().ok_or("nobody waits")??;
        std::thread::scope(|scope| {
            for worker in 0..CONNECTIONS.min(count) {
                scope.spawn(move || {
                    let Ok(stream) = TcpStream::connect(address) else {
                        return;
                    };
                    let mut stream = BufReader::new(stream);
                    for index in (worker..count).step_by(CONNECTIONS) {
                        let (method, path, body) = requests(index);
                        if let Err(error) = request(&mut stream, &method, &path, &body) {
                            eprintln!("{method} {path}: {error}");
                        }
                    }
                });
            }
        });
        println!("{count}");
        Ok(())
    };
    let set_up = [
        ("/v1/groups/g", "{}"),
        ("/v1/groups/g/workspaces/w", "{}"),
        ("/v1/groups/g/workspaces/w/clusters/c", cluster),
        ("/v1/groups/g/workspaces/w/experiments/e", ""),
    ];
    std::io::stdin().lines().next().ok_or("nobody waits")??;
    let mut stream = BufReader::new(TcpStream::connect(address)?);
    for (path, body) in set_up {
        request(&mut stream, "PUT", path, body)?;
    }
    println!("{}", set_up.len());
    in_turn(
        &|index| ("PUT".into(), format!("{JOBS}/j{index}"), job.into()),
        jobs,
    )?;
    in_turn(
        &|index| ("GET".into(), format!("{JOBS}/j{index}"), String::new()),
        jobs,
    )?;
    in_turn(&|_| ("GET".into(), JOBS.into(), String::new()), 20)
}

fn request(stream: &mut BufReader<TcpStream>, method: &str, path: &str, body: &str) -> Outcome<()> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.get_mut().write_all(head.as_bytes())?;
    let mut length = 0;
    let mut status = String::new();
    stream.read_line(&mut status)?;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    if status.contains(" 200 ") {
        Ok(())
    } else {
        Err(status.into())
    }
}
