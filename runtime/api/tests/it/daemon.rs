//! A daemon's HTTP side for tests, with a clock that stands still.

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use lote_api::{ApiConfig, ApiState, PeerStream, RemoteStartDoor, serve, serve_peers};
use lote_model::framework::{
    ChosenPlugin, Frameworks, PLUGIN_SETTINGS, PlanError, PlannedLaunch, PluginRequest,
    PluginSummary, ValidatedSettings,
};
use lote_model::id::NodeName;
use lote_model::job::{DirectoryLocation, ErrorRecord, FrameworkSettings, JobRecord, JobStatus};
use lote_model::key;
use lote_model::name::{GroupName, ResourceName};
use lote_model::path::{JobPath, WorkspacePath};
use lote_model::plan::{
    AllocationInput, Command, GpuShare, JobInput, LaunchPlan, OnFailure, Part, Process, Variable,
};
use lote_model::plan_check;
use lote_model::problem::Problem;
use lote_model::state::ExecutionState;
use lote_store::{Store, Transaction, get_json};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::described::Description;
use crate::store::Breakable;

pub(crate) const VERSION: &str = "api-version=2018-05-01";
pub(crate) const PROVIDER: &str =
    "/subscriptions/sub/resourceGroups/lab/providers/Microsoft.BatchAI";
pub(crate) const NODE: &str = "here";

/// Below it are the workspaces of the group `lab`, under our own prefix.
pub(crate) const LAB: &str = "/v1/groups/lab/workspaces";

/// Waits for a condition; a test that waits for longer has failed.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Frameworks without plugins: a custom one, and PyTorch with one default.
pub(crate) struct Fake;

impl Frameworks for Fake {
    fn settings_members(&self) -> Vec<String> {
        vec!["customToolkitSettings".into(), "pyTorchSettings".into()]
    }

    fn plugins(&self) -> Vec<PluginSummary> {
        let summary = |member: String| PluginSummary {
            name: member.clone(),
            settings_member: member,
            version: "1.2.3".into(),
            summary: "A fake".into(),
            digest: "00".into(),
            contract: "0.1".into(),
            origin: "built in".into(),
            is_default: true,
        };
        self.settings_members().into_iter().map(summary).collect()
    }

    fn validate(
        &self,
        request: &PluginRequest,
        job: &JobInput,
    ) -> Result<ValidatedSettings, Problem> {
        let mut settings = job.settings.clone();
        let asked = request.plugin.as_ref();
        if let Some(version) = asked.and_then(|asked| asked.version.as_deref())
            && version != "1.0.0"
        {
            let message = format!("there is no version {version}");
            return Err(Problem::new("FrameworkNotAvailable", message).at(request.name_pointer()));
        }
        let (tool_type, required) = match request.member.as_str() {
            PLUGIN_SETTINGS => ("relay", "commandLine"),
            "customToolkitSettings" => ("custom", "commandLine"),
            _ => ("pytorch", "pythonScriptFilePath"),
        };
        if !settings[required].is_string() {
            let target = format!("{}/{required}", request.settings_pointer());
            return Err(
                Problem::new("InvalidSettings", format!("{required} is required")).at(target),
            );
        }
        if tool_type == "pytorch" && settings["processCount"].is_null() {
            settings["processCount"] = json!(job.node_count);
        }
        Ok(ValidatedSettings {
            tool_type: tool_type.into(),
            settings,
            plugin: ChosenPlugin {
                name: tool_type.into(),
                version: "1.0.0".into(),
                digest: "00".into(),
            },
            starts_peers: false,
        })
    }

    fn plan(
        &self,
        _: &FrameworkSettings,
        job: &JobInput,
        allocation: &AllocationInput,
    ) -> Result<PlannedLaunch, PlanError> {
        if job.settings["commandLine"] == json!("unplannable") {
            let error =
                ErrorRecord::new("PluginFailed", "the plugin custom failed").with("step", "plan");
            return Err(PlanError::Failed(error));
        }
        let process = |rank: u32| Process {
            name: format!("rank-{rank}"),
            node: rank,
            command: Command::Shell("true".into()),
            variables: vec![],
            working_directory: None,
            output: (allocation.nodes.len() > 1).then(|| rank.to_string()),
            gpus: GpuShare::All,
            part: Part::Primary,
            on_failure: OnFailure::FailJob,
            stage: 0,
        };
        let nodes = u32::try_from(allocation.nodes.len()).unwrap();
        let plan = LaunchPlan {
            variables: vec![Variable::new("WORLD", nodes.to_string())],
            processes: (0..nodes).map(process).collect(),
            ..LaunchPlan::default()
        };
        let plan = plan_check::check(plan, allocation).unwrap();
        Ok(PlannedLaunch {
            plan,
            plugin: "custom 1.0.0".into(),
        })
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    /// The JSON body of an answer that must have the status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(
            self.status,
            status,
            "{}",
            String::from_utf8_lossy(&self.bytes)
        );
        if self.bytes.is_empty() {
            Value::Null
        } else {
            self.json()
        }
    }

    /// The error of an answer that must have the status and the code.
    #[track_caller]
    pub(crate) fn expect_error(&self, status: u16, code: &str) -> Value {
        let error = self.expect(status)["error"].clone();
        assert_eq!(error["code"], code, "{error}");
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|message| message.contains(' ')),
            "{error}"
        );
        error
    }
}

/// A running HTTP interface.
pub(crate) struct Daemon {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: Arc<Breakable>,
    pub(crate) runtime: Runtime,
    pub(crate) address: SocketAddr,
    now: Arc<Mutex<Timestamp>>,
    /// Where it answers other daemons, if it does.
    pub(crate) peer_address: Option<SocketAddr>,
    server: Option<Server>,
    agent: ureq::Agent,
    configure: Configure,
}

/// What serves, until it is told to stop.
struct Server {
    stop: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// Changes the settings before a start.
type Configure = Box<dyn Fn(&mut ApiConfig) + Send + Sync>;

impl Daemon {
    pub(crate) fn start() -> Self {
        Self::start_configured(|_| {})
    }

    /// One with other settings than the defaults.
    pub(crate) fn start_configured(
        configure: impl Fn(&mut ApiConfig) + Send + Sync + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Breakable::open(folder.path()));
        Self::start_over(folder, store, configure)
    }

    /// Another one over the same store, with a folder of its own.
    pub(crate) fn beside(
        other: &Self,
        configure: impl Fn(&mut ApiConfig) + Send + Sync + 'static,
    ) -> Self {
        Self::start_over(tempfile::tempdir().unwrap(), other.store.clone(), configure)
    }

    fn start_over(
        folder: tempfile::TempDir,
        store: Arc<Breakable>,
        configure: impl Fn(&mut ApiConfig) + Send + Sync + 'static,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let now = Arc::new(Mutex::new("2018-07-02T10:00:00Z".parse().unwrap()));
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_mins(1)))
            .build()
            .into();
        let address = ([127, 0, 0, 1], 0).into();
        let mut daemon = Self {
            folder,
            store,
            runtime,
            address,
            now,
            peer_address: None,
            server: None,
            agent,
            configure: Box::new(configure),
        };
        daemon.serve();
        daemon
    }

    fn serve(&mut self) {
        let mut config = ApiConfig::new(NodeName::new(NODE), [7; 32]);
        config.sealing_key = Some(lote_vault::SealingKey::new([9; 32]));
        (self.configure)(&mut config);
        let peers = config.peers.clone();
        let now = self.now.clone();
        let clock = Arc::new(move || *now.lock().unwrap());
        let state = ApiState::new(self.store.clone(), Arc::new(Fake), config, clock);
        let address = self.address;
        let listener = self
            .runtime
            .block_on(tokio::net::TcpListener::bind(address))
            .unwrap();
        self.address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let mut tasks = Vec::new();
        if let Some(peers) = peers {
            let address = self
                .peer_address
                .unwrap_or_else(|| ([127, 0, 0, 1], 0).into());
            let listener = self
                .runtime
                .block_on(tokio::net::TcpListener::bind(address))
                .unwrap();
            self.peer_address = Some(listener.local_addr().unwrap());
            let (state, shutdown) = (state.clone(), stop.clone().cancelled_owned());
            tasks.push(self.runtime.spawn(async move {
                let starts = Arc::new(Echo);
                serve_peers(listener, state, peers, starts, shutdown)
                    .await
                    .unwrap();
            }));
        }
        let shutdown = stop.clone().cancelled_owned();
        tasks.push(self.runtime.spawn(async move {
            serve(listener, state, shutdown).await.unwrap();
        }));
        self.server = Some(Server { stop, tasks });
    }

    pub(crate) fn stop(&mut self) {
        if let Some(Server { stop, tasks }) = self.server.take() {
            stop.cancel();
            for task in tasks {
                self.runtime.block_on(task).unwrap();
            }
        }
    }

    /// Stops it and starts it again over the same store, at the same address.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.serve();
    }

    pub(crate) fn advance(&self, seconds: i64) {
        *self.now.lock().unwrap() += SignedDuration::from_secs(seconds);
    }

    pub(crate) fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("http://{}{path}", self.address)
        }
    }

    /// Sends a request. The answer must be as the interface describes itself.
    #[track_caller]
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = self.run(request.body(body).unwrap());
        let read = || {
            let request = ureq::http::Request::get(self.url("/v1/openapi.json"));
            self.run(request.body(&b""[..]).unwrap()).json()
        };
        let path = path.strip_prefix(&self.url("")).unwrap_or(path);
        Description::once(read).check(method, path, &reply);
        reply
    }

    fn run(&self, request: ureq::http::Request<&[u8]>) -> Reply {
        let mut response = self.agent.run(request).unwrap();
        let mut bytes = Vec::new();
        response
            .body_mut()
            .as_reader()
            .read_to_end(&mut bytes)
            .unwrap();
        Reply {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            bytes,
        }
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.request("GET", path, &[], b"")
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Reply {
        self.request(
            "PUT",
            path,
            &[("content-type", "application/json")],
            body.to_string().as_bytes(),
        )
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Reply {
        self.request("PATCH", path, &[], body.to_string().as_bytes())
    }

    pub(crate) fn post(&self, path: &str) -> Reply {
        self.request(
            "POST",
            path,
            &[("content-type", "application/json; charset=utf-8")],
            b"",
        )
    }

    pub(crate) fn delete(&self, path: &str) -> Reply {
        self.request("DELETE", path, &[], b"")
    }

    pub(crate) fn revision(&self) -> u64 {
        self.runtime.block_on(self.store.revision()).unwrap()
    }

    pub(crate) fn commit(&self, transaction: Transaction) {
        assert!(
            self.runtime
                .block_on(self.store.commit(transaction))
                .unwrap()
                .is_applied()
        );
    }

    pub(crate) fn write(&self, key: &str, value: &impl serde::Serialize) {
        self.commit(Transaction::new().put_json(key, value).unwrap());
    }

    pub(crate) fn read<T: serde::de::DeserializeOwned>(&self, key: &str) -> Option<T> {
        self.runtime
            .block_on(get_json(&*self.store, key))
            .unwrap()
            .map(|entry| entry.value)
    }

    /// A group `lab` with workspace `ws`, cluster `c` and experiment `e`.
    pub(crate) fn furnish(&self) {
        self.put("/v1/groups/lab", &json!({})).expect(200);
        self.put(&format!("{LAB}/ws"), &json!({"location": "local"}))
            .expect(200);
        self.put(&format!("{LAB}/ws/clusters/c"), &cluster_body())
            .expect(200);
        self.request("PUT", &format!("{LAB}/ws/experiments/e"), &[], b"")
            .expect(200);
    }

    pub(crate) fn submit(&self, name: &str) -> JobRecord {
        self.put(&job_url(name), &job_body()).expect(200);
        self.job(name)
    }

    pub(crate) fn job(&self, name: &str) -> JobRecord {
        self.read(&key::job(&job_path(name))).unwrap()
    }

    pub(crate) fn set_status(&self, status: &JobStatus, name: &str) {
        self.write(&key::job_status(&job_path(name)), status);
    }

    /// What the leader does with a job that is to be deleted.
    pub(crate) fn erase(&self, name: &str) {
        let path = job_path(name);
        self.commit(
            Transaction::new()
                .delete(key::job(&path))
                .delete(key::job_status(&path)),
        );
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The path of a resource under the resource manager's prefix.
pub(crate) fn rm(rest: &str) -> String {
    let separator = if rest.contains('?') { '&' } else { '?' };
    format!("{PROVIDER}{rest}{separator}{VERSION}")
}

pub(crate) fn name(text: &str) -> ResourceName {
    ResourceName::new(text).unwrap()
}

pub(crate) fn workspace_path() -> WorkspacePath {
    WorkspacePath {
        group: GroupName::new("lab").unwrap(),
        workspace: name("ws"),
    }
}

pub(crate) fn job_path(job: &str) -> JobPath {
    JobPath::new(&workspace_path().child(name("e")), name(job))
}

pub(crate) fn job_url(job: &str) -> String {
    format!("{LAB}/ws/experiments/e/jobs/{job}")
}

/// The same job under the other prefix, with an action or nothing behind it.
pub(crate) fn rm_job(job: &str, action: &str) -> String {
    rm(&format!("/workspaces/ws/experiments/e/jobs/{job}{action}"))
}

pub(crate) fn cluster_body() -> Value {
    json!({"properties": {
        "vmSize": "cpu",
        "scaleSettings": {"manual": {"targetNodeCount": 1}},
        "userAccountSettings": {"adminUserName": "ops", "adminUserPassword": "secret"},
    }})
}

pub(crate) fn job_body() -> Value {
    json!({"properties": {
        "cluster": {"id": "/v1/groups/lab/workspaces/ws/clusters/c"},
        "nodeCount": 1,
        "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/logs",
        "outputDirectories": [{"id": "MODEL", "pathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/logs"}],
        "customToolkitSettings": {"commandLine": "true"},
    }})
}

/// A running job's status.
pub(crate) fn running(record: &JobRecord, now: Timestamp) -> JobStatus {
    JobStatus {
        uid: record.uid.clone(),
        state: ExecutionState::Running,
        state_since: now,
        attempt: 1,
        nodes: vec![NodeName::new(NODE)],
        start_time: Some(now),
        ..JobStatus::queued(record)
    }
}

/// A finished job's status.
pub(crate) fn succeeded(record: &JobRecord, now: Timestamp) -> JobStatus {
    JobStatus {
        state: ExecutionState::Succeeded,
        end_time: Some(now),
        exit_code: Some(0),
        ..running(record, now)
    }
}

pub(crate) fn location(id: &str, node: &str, path: &Path) -> DirectoryLocation {
    DirectoryLocation {
        id: id.into(),
        node: NodeName::new(node),
        path: path.to_str().unwrap().into(),
        root: None,
        while_mounted: false,
    }
}

/// The body with what differs between runs replaced.
pub(crate) fn redacted(daemon: &Daemon, value: &Value) -> Value {
    let text = value
        .to_string()
        .replace(&daemon.address.to_string(), "HOST");
    let mut clean = String::new();
    let mut rest = text.as_str();
    while let Some(at) = (0..rest.len()).find(|&at| rest.get(at..at + 36).is_some_and(is_uuid)) {
        clean.push_str(&rest[..at]);
        clean.push_str("UUID");
        rest = &rest[at + 36..];
    }
    clean.push_str(rest);
    serde_json::from_str(&clean).unwrap()
}

fn is_uuid(text: &str) -> bool {
    text.bytes().enumerate().all(|(at, c)| match at {
        8 | 13 | 18 | 23 => c == b'-',
        _ => c.is_ascii_hexdigit(),
    })
}

/// Says who asks and gives back what it is sent, in place of what starts processes.
struct Echo;

impl RemoteStartDoor for Echo {
    fn serve(
        &self,
        from: NodeName,
        mut stream: Box<dyn PeerStream>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let greeting = format!("{from}\n");
            stream.write_all(greeting.as_bytes()).await.unwrap();
            let mut bytes = [0; 1024];
            while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                stream.write_all(&bytes[..length]).await.unwrap();
            }
        })
    }
}
