//! The settings of the frameworks that the contract knows. Each belongs to a
//! plugin, which checks them and fills in defaults; `GET /v1/plugins` says which
//! are loaded.

use utoipa::ToSchema;

/// CNTK.
#[derive(ToSchema)]
#[schema(as = CNTKsettings, rename_all = "camelCase")]
pub(crate) struct CntkSettings {
    /// `BrainScript` or `Python`.
    language_type: Option<String>,
    /// The configuration file, for `BrainScript`.
    config_file_path: Option<String>,
    /// The script, for `Python`.
    python_script_file_path: Option<String>,
    /// The Python interpreter.
    python_interpreter_path: Option<String>,
    /// Arguments, expanded by a shell.
    command_line_args: Option<String>,
    /// How many processes in all; as many as nodes when absent.
    process_count: Option<i32>,
}

/// PyTorch.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct PyTorchSettings {
    /// The script.
    python_script_file_path: String,
    /// The Python interpreter.
    python_interpreter_path: Option<String>,
    /// Arguments, expanded by a shell.
    command_line_args: Option<String>,
    /// How many processes in all; as many as nodes when absent.
    process_count: Option<i32>,
    /// `TCP`, `Gloo` or `MPI`.
    communication_backend: Option<String>,
}

/// TensorFlow.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct TensorFlowSettings {
    /// The script.
    python_script_file_path: String,
    /// The Python interpreter.
    python_interpreter_path: Option<String>,
    /// Arguments of the master.
    master_command_line_args: Option<String>,
    /// Arguments of the other workers.
    worker_command_line_args: Option<String>,
    /// Arguments of the parameter servers.
    parameter_server_command_line_args: Option<String>,
    /// How many workers; as many as nodes when absent.
    worker_count: Option<i32>,
    /// How many parameter servers; one when absent and the job is distributed.
    parameter_server_count: Option<i32>,
}

/// Caffe.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct CaffeSettings {
    /// The configuration file; either this or the script.
    config_file_path: Option<String>,
    /// The script.
    python_script_file_path: Option<String>,
    /// The Python interpreter.
    python_interpreter_path: Option<String>,
    /// Arguments, expanded by a shell.
    command_line_args: Option<String>,
    /// How many processes in all; as many as nodes when absent.
    process_count: Option<i32>,
}

/// Caffe2.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct Caffe2Settings {
    /// The script.
    python_script_file_path: String,
    /// The Python interpreter.
    python_interpreter_path: Option<String>,
    /// Arguments, expanded by a shell.
    command_line_args: Option<String>,
}

/// Chainer.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ChainerSettings {
    /// The script.
    python_script_file_path: String,
    /// The Python interpreter.
    python_interpreter_path: Option<String>,
    /// Arguments, expanded by a shell.
    command_line_args: Option<String>,
    /// How many processes in all; as many as nodes when absent.
    process_count: Option<i32>,
}

/// Horovod.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct HorovodSettings {
    /// The script.
    python_script_file_path: String,
    /// The Python interpreter.
    python_interpreter_path: Option<String>,
    /// Arguments, expanded by a shell.
    command_line_args: Option<String>,
    /// How many processes in all; as many as nodes when absent.
    process_count: Option<i32>,
}

/// A command line on the first node.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct CustomToolkitSettings {
    /// A line for `bash`.
    command_line: String,
}

/// A command line that `mpirun` starts.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct CustomMpiSettings {
    /// A line for `bash`.
    command_line: String,
    /// How many processes in all; as many as nodes when absent.
    process_count: Option<i32>,
}

/// A plugin by its name, and what it is to get.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LotePluginSettings {
    /// The plugin's name; with a version if wanted, as in `ray@0.2.0`.
    name: String,
    /// The plugin's own settings. `GET /v1/plugins` says which plugins are loaded.
    #[schema(value_type = Option<Object>)]
    settings: Option<serde_json::Value>,
}
