//! `lote run`.

use clap::{Args, ValueEnum};

/// Options of `lote run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// How many nodes, all at once or none
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub nodes: u32,
    /// GPUs on each node; with --cpus, --memory: share the node with other jobs
    #[arg(long)]
    pub gpus: Option<u32>,
    /// Processors on each node, such as 4 or 0.5
    #[arg(long)]
    pub cpus: Option<f64>,
    /// Memory on each node, such as 8g; the job fails when it needs more
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory: Option<String>,
    /// Run in a container of this image, such as ubuntu:22.04, as root in there
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// The size of /dev/shm in the container, such as 8g [default: half of the memory]
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "image")]
    pub shm_size: Option<String>,
    /// How many processes (TensorFlow: workers) the framework starts in all [default: one per node]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub processes: Option<u32>,
    /// Who starts the command
    #[arg(long, value_enum, default_value_t = Framework::Custom)]
    pub framework: Framework,
    /// Another plugin, NAME or NAME@VERSION; the command becomes its setting `commandLine`
    #[arg(long, value_name = "NAME", conflicts_with_all = ["framework", "processes", "backend"])]
    pub plugin: Option<String>,
    /// A further setting of the framework or plugin, as JSON or else as text; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = super::name_and_value)]
    pub settings: Vec<(String, String)>,
    /// How PyTorch's processes talk, when there are several [default: Gloo]
    #[arg(long, value_name = "BACKEND")]
    pub backend: Option<String>,
    /// The cluster: a name in this workspace, or a full id
    #[arg(short, long, default_value = "local")]
    pub cluster: String,
    /// The experiment the job goes to
    #[arg(short, long, default_value = "default")]
    pub experiment: String,
    /// A variable of the job; NAME alone takes the value it has here
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// The job's name [default: made of the program's name and the time]
    #[arg(long)]
    pub name: Option<String>,
    /// A directory for results; its path is in the variable `AZ_BATCHAI_OUTPUT_ID`
    #[arg(long, value_name = "ID")]
    pub output_dir: Vec<String>,
    /// What becomes of the job when a node is lost under it: it waits for another start, or fails
    #[arg(long, value_enum, default_value_t = NodeLoss::Requeue)]
    pub on_node_loss: NodeLoss,
    /// Submit only; print the job's name and end
    #[arg(short, long)]
    pub detach: bool,
    /// The program and its arguments, passed on exactly as given
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// The frameworks that `lote run` knows how to describe a command to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Framework {
    /// Runs the command on the first node
    Custom,
    /// Runs the command as every rank of an MPI job
    #[value(name = "custommpi", alias = "custom-mpi")]
    CustomMpi,
    /// Runs a Python script once per process, with rank and rendezvous set
    #[value(name = "pytorch")]
    PyTorch,
    /// Runs a Python script as master, workers and parameter servers, with `TF_CONFIG` set
    #[value(name = "tensorflow")]
    TensorFlow,
    /// Runs a Python script as ranks of an MPI job, for Horovod
    Horovod,
    /// Runs a Python script as ranks of an MPI job
    Chainer,
    /// Runs a configuration or a Python script as ranks of an MPI job
    Cntk,
    /// Runs a solver or a Python script as ranks of an MPI job
    Caffe,
    /// Runs a Python script once per node, with the number of its shard
    Caffe2,
}

impl Framework {
    /// As it is typed.
    pub fn name(self) -> String {
        let typed = self.to_possible_value();
        typed.map_or_else(String::new, |typed| typed.get_name().to_owned())
    }
}

/// `--on-node-loss`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NodeLoss {
    /// Start it again, up to `lote.attemptsMax` starts in all
    Requeue,
    /// It has failed
    Fail,
}

/// Takes a size as it is, if it is one.
fn size(text: &str) -> Result<String, String> {
    lote_model::quantity::parse_bytes(text)
        .map(|_| text.to_owned())
        .ok_or_else(|| "expected a number of bytes such as 512m or 8g".into())
}
