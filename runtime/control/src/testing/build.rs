//! Builders of records with harmless defaults.

use jiff::Timestamp;
use lote_model::cluster::{
    AutoScale, ClusterProperties, ClusterRecord, LoteClusterProperties, ManualScale,
    NodeDeallocationOption, ScaleSettings, UserAccountSettings, VmPriority, default_image,
};
use lote_model::container::{ContainerSettings, ImageSourceRegistry};
use lote_model::duration::Seconds;
use lote_model::gpu::Gpu;
use lote_model::id::{ClusterUid, JobUid, NodeName, UnixId};
use lote_model::job::{
    Constraints, FrameworkSettings, JobProperties, JobRecord, LoteJobProperties, ResourceReference,
    ResourceRequest,
};
use lote_model::money::Money;
use lote_model::name::{GroupName, ResourceName};
use lote_model::node::{Capability, Condition, NodeRecord};
use lote_model::node_setup::NodeSetup;
use lote_model::path::{ChildPath, JobPath, WorkspacePath};
use lote_model::plan::{Command, GpuShare, OnFailure, Part, Process};
use lote_model::spending::{Budget, BudgetPeriod};
use lote_model::state::Priority;

use super::mounting;

#[expect(clippy::expect_used, reason = "names in tests are literals")]
fn name(text: &str) -> ResourceName {
    ResourceName::new(text).expect("a valid name")
}

/// The one workspace of tests.
#[expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "the name is a literal"
)]
pub fn workspace() -> WorkspacePath {
    WorkspacePath {
        group: GroupName::new("lab").expect("a valid name"),
        workspace: name("ws"),
    }
}

/// A node with 8 processors, 64 GiB, no GPU and 1,000 ports, of size `cpu`.
pub fn node(name: &str) -> NodeBuilder {
    NodeBuilder(NodeRecord {
        name: NodeName::new(name),
        address: format!("{name}.local"),
        ssh_port: 22,
        peer_address: None,
        mac_address: None,
        always_on: false,
        labels: std::collections::BTreeMap::new(),
        size: "cpu".into(),
        version: "0.1.0".into(),
        boot_id: "boot".into(),
        cpu_cores: 8,
        memory_bytes: 64 << 30,
        gpus: Vec::new(),
        gpu_distances: Vec::new(),
        gpu_driver: None,
        numa_nodes: Vec::new(),
        ports_first: 20_000,
        ports_count: 1000,
        work_directory: "/var/lib/lote/work".into(),
        nfs: None,
        nfs_client_versions: Vec::new(),
        isolation: Vec::new(),
        conditions: Vec::new(),
        started_at: Timestamp::UNIX_EPOCH,
    })
}

/// Builds a node.
#[derive(Clone, Debug)]
pub struct NodeBuilder(pub NodeRecord);

impl NodeBuilder {
    /// With so many GPUs.
    #[must_use]
    pub fn gpus(mut self, count: u32) -> Self {
        let gpu = |minor| Gpu {
            uuid: format!("GPU-{}-{minor}", self.0.name),
            model: "H200".into(),
            minor,
            memory_mib: 143_771,
            ..Gpu::default()
        };
        self.0.gpus = (0..count).map(gpu).collect();
        self
    }

    /// With so many processors.
    #[must_use]
    pub fn cores(mut self, count: u32) -> Self {
        self.0.cpu_cores = count;
        self
    }

    /// With so many ports to lease.
    #[must_use]
    pub fn ports(mut self, count: u16) -> Self {
        self.0.ports_count = count;
        self
    }

    /// Of this size.
    #[must_use]
    pub fn size(mut self, size: &str) -> Self {
        self.0.size = size.into();
        self
    }

    /// That offers this, as its record calls it.
    #[must_use]
    pub fn offering(mut self, capability: &str) -> Self {
        self.0.isolation.push(Capability {
            name: capability.into(),
            in_force: true,
            note: "for tests".into(),
        });
        self
    }

    /// With something wrong that keeps jobs away.
    #[must_use]
    pub fn unwell(mut self) -> Self {
        self.0.conditions.push(Condition {
            code: "Test".into(),
            message: "something is wrong".into(),
            blocks_jobs: true,
            since: Timestamp::UNIX_EPOCH,
        });
        self
    }
}

/// The process that decides on the node of this rank.
pub fn worker(rank: u32) -> Process {
    Process {
        name: format!("worker-{rank}"),
        node: rank,
        command: Command::Argv(vec!["true".into()]),
        variables: Vec::new(),
        working_directory: None,
        output: Some(rank.to_string()),
        gpus: GpuShare::All,
        part: Part::Primary,
        on_failure: OnFailure::FailJob,
        stage: 0,
    }
}

/// A cluster of size `cpu` with no nodes.
pub fn cluster(cluster_name: &str) -> ClusterBuilder {
    ClusterBuilder(ClusterRecord {
        path: workspace().child(name(cluster_name)),
        uid: ClusterUid::new(format!("uid-{cluster_name}")),
        created_at: Timestamp::UNIX_EPOCH,
        properties: ClusterProperties {
            vm_size: "CPU".into(),
            vm_priority: VmPriority::Dedicated,
            scale_settings: ScaleSettings::default(),
            virtual_machine_configuration: default_image(),
            node_setup: None,
            user_account_settings: UserAccountSettings {
                admin_user_name: "admin".into(),
                admin_user_ssh_public_key: None,
            },
            subnet: None,
            lote: LoteClusterProperties::default(),
        },
        setup_output_suffix: None,
        delete_requested_at: None,
    })
}

/// Builds a cluster.
#[derive(Clone, Debug)]
pub struct ClusterBuilder(pub ClusterRecord);

impl ClusterBuilder {
    /// With a fixed number of nodes.
    #[must_use]
    pub fn manual(self, target_node_count: u32) -> Self {
        self.shrinking(target_node_count, NodeDeallocationOption::Requeue)
    }

    /// With a fixed number of nodes, and this way to get there.
    #[must_use]
    pub fn shrinking(
        mut self,
        target_node_count: u32,
        node_deallocation_option: NodeDeallocationOption,
    ) -> Self {
        self.0.properties.scale_settings = ScaleSettings::Manual(ManualScale {
            target_node_count,
            node_deallocation_option,
        });
        self
    }

    /// With as many nodes as the work needs.
    #[must_use]
    pub fn auto(mut self, minimum_node_count: u32, maximum_node_count: u32) -> Self {
        self.0.properties.scale_settings = ScaleSettings::AutoScale(AutoScale {
            minimum_node_count,
            maximum_node_count,
            initial_node_count: 0,
        });
        self
    }

    /// Of nodes of this size.
    #[must_use]
    pub fn size(mut self, size: &str) -> Self {
        self.0.properties.vm_size = size.into();
        self
    }

    /// Of nodes that dedicated clusters may take.
    #[must_use]
    pub fn low_priority(mut self) -> Self {
        self.0.properties.vm_priority = VmPriority::LowPriority;
        self
    }

    /// Whose idle nodes stay so long.
    #[must_use]
    pub fn idle_delay_seconds(mut self, seconds: u64) -> Self {
        self.0.properties.lote.idle_delay = Some(Seconds(seconds));
        self
    }

    /// Whose nodes cost so much in an hour.
    #[must_use]
    pub fn price(mut self, per_node_hour: Money) -> Self {
        self.0.properties.lote.price_per_node_hour = Some(per_node_hour);
        self
    }

    /// Whose nodes may cost so much.
    #[must_use]
    pub fn budget(mut self, amount: Money, period: BudgetPeriod) -> Self {
        self.0.properties.lote.budget = Some(Budget { amount, period });
        self
    }

    /// Whose nodes have a file server mounted for every job.
    #[must_use]
    pub fn mounts(mut self, file_server: &str) -> Self {
        self.0.properties.node_setup = Some(NodeSetup {
            mount_volumes: Some(mounting(file_server)),
            ..NodeSetup::default()
        });
        self
    }

    /// Its place in the tree.
    pub fn path(&self) -> ChildPath {
        self.0.path.clone()
    }
}

/// A job on one whole node of cluster `c`.
pub fn job(job_name: &str) -> JobBuilder {
    JobBuilder(JobRecord {
        path: JobPath::new(&workspace().child(name("exp")), name(job_name)),
        uid: JobUid::new(format!("uid-{job_name}")),
        cluster: workspace().child(name("c")),
        created_at: Timestamp::UNIX_EPOCH,
        output_segment: "segment".into(),
        unix_id: UnixId::FIRST,
        properties: JobProperties {
            cluster: ResourceReference {
                id: "/v1/groups/lab/workspaces/ws/clusters/c".into(),
            },
            node_count: 1,
            scheduling_priority: Priority::Normal,
            mount_volumes: None,
            container_settings: None,
            job_preparation: None,
            std_out_err_path_prefix: "/out".into(),
            input_directories: Vec::new(),
            output_directories: Vec::new(),
            environment_variables: Vec::new(),
            secrets: Vec::new(),
            constraints: Constraints::default(),
            lote: LoteJobProperties::default(),
        },
        framework: FrameworkSettings {
            member: "customToolkitSettings".into(),
            tool_type: "custom".into(),
            settings: serde_json::json!({"commandLine": "true"}),
            asked: None,
            plugin: None,
            starts_peers: false,
        },
        terminate_requested_at: None,
        delete_requested_at: None,
    })
}

/// Builds a job.
#[derive(Clone, Debug)]
pub struct JobBuilder(pub JobRecord);

impl JobBuilder {
    /// On so many nodes.
    #[must_use]
    pub fn nodes(mut self, count: u32) -> Self {
        self.0.properties.node_count = count;
        self
    }

    /// Taking a part of each node.
    #[must_use]
    pub fn share(mut self, gpus: u32, cpus: f64, memory: Option<&str>) -> Self {
        self.0.properties.lote.resources = Some(ResourceRequest {
            gpus_per_node: Some(gpus),
            cpus_per_node: Some(cpus),
            memory: memory.map(str::to_owned),
            processes: None,
        });
        self
    }

    /// In a container of an image.
    #[must_use]
    pub fn in_container(mut self) -> Self {
        self.0.properties.container_settings = Some(ContainerSettings {
            image_source_registry: ImageSourceRegistry {
                server_url: None,
                image: "ubuntu".into(),
                credentials: None,
            },
            shm_size: None,
        });
        self
    }

    /// Before or after others.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.0.properties.scheduling_priority = priority;
        self
    }

    /// Running at most so long.
    #[must_use]
    pub fn limit_seconds(mut self, seconds: u64) -> Self {
        self.0.properties.constraints.max_wall_clock_time = Seconds(seconds);
        self
    }

    /// Started at most so often.
    #[must_use]
    pub fn attempts(mut self, attempts_max: u32) -> Self {
        self.0.properties.lote.attempts_max = Some(attempts_max);
        self
    }

    /// Fails when it loses a node.
    #[must_use]
    pub fn failing_on_loss(mut self) -> Self {
        self.0.properties.lote.on_node_loss = lote_model::job::OnNodeLoss::Fail;
        self
    }

    /// With a file server mounted.
    #[must_use]
    pub fn mounts(mut self, file_server: &str) -> Self {
        self.0.properties.mount_volumes = Some(mounting(file_server));
        self
    }

    /// In this workspace; its cluster stays in that of all others.
    #[must_use]
    pub fn of_workspace(mut self, workspace: &str) -> Self {
        self.0.path.workspace.workspace = name(workspace);
        self
    }

    /// On another cluster than `c`.
    #[must_use]
    pub fn on(mut self, cluster: &str) -> Self {
        self.0.cluster = workspace().child(name(cluster));
        self
    }
}
