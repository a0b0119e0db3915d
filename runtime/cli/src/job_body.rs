//! From the options of `lote run`, or a job file, to the body of a job's PUT.

use serde_json::{Map, Value, json};

use crate::args::run::{NodeLoss, RunArgs};
use crate::framework_settings::{self, FrameworkError};
use crate::settings::Surroundings;

/// Below which path output goes unless a job file says otherwise: on every node
/// there is one, and listing reads it.
pub const OUTPUT_PREFIX: &str = "$AZ_BATCHAI_MOUNT_ROOT";

/// Why options make no job. The messages say what to type instead.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// `--env NAME` of a variable that is not set here.
    #[error("--env {0}: the variable is not set here; give it as {0}=VALUE")]
    UnsetVariable(String),
    /// The framework does not start this command.
    #[error(transparent)]
    Framework(#[from] FrameworkError),
}

/// The body for `lote run`. `cluster_id` is the full id; the working directory is
/// given when the daemon sees the same files as this process.
pub fn of_run(
    args: &RunArgs,
    cluster_id: &str,
    working_directory: Option<&str>,
    surroundings: &Surroundings,
) -> Result<Value, BodyError> {
    let (member, settings) = framework_settings::of_run(args)?;
    let mut properties = json!({
        "cluster": {"id": cluster_id},
        "nodeCount": args.nodes,
        "stdOutErrPathPrefix": OUTPUT_PREFIX,
        member: settings,
    });
    set_list(
        &mut properties,
        "environmentVariables",
        variables(args, surroundings)?,
    );
    set_list(
        &mut properties,
        "outputDirectories",
        output_directories(args),
    );
    if let Some(image) = &args.image {
        properties["containerSettings"] = json!({"imageSourceRegistry": {"image": image}});
        if let Some(size) = &args.shm_size {
            properties["containerSettings"]["shmSize"] = size.as_str().into();
        }
    }
    let extensions = extensions(args, working_directory);
    if !extensions.is_empty() {
        properties["lote"] = Value::Object(extensions);
    }
    Ok(json!({"properties": properties}))
}

/// What files that were made for the preview of Batch AI (2017-09-01) say of an output directory. It
/// has meant nothing since, and the original's own command line leaves it out.
const PREVIEW_MEMBERS: [&str; 2] = ["type", "createNew"];

/// Completes the members of a job file: the cluster, when the file names none or
/// the user another one. Members that a GET answers outside `properties` go, and those of the
/// preview.
pub fn of_file(mut members: Map<String, Value>, cluster_id: Option<&str>, default: &str) -> Value {
    members.retain(|name, _| name == "properties");
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        let named = properties.get("cluster").is_some_and(|c| !c.is_null());
        let chosen = cluster_id.or((!named).then_some(default));
        if let Some(id) = chosen {
            properties.insert("cluster".into(), json!({"id": id}));
        }
        let directories = properties.get_mut("outputDirectories");
        let directories = directories.and_then(Value::as_array_mut);
        let directories = directories.into_iter().flatten();
        for directory in directories.filter_map(Value::as_object_mut) {
            directory.retain(|name, _| !PREVIEW_MEMBERS.contains(&name.as_str()));
        }
    }
    Value::Object(members)
}

fn set_list(properties: &mut Value, member: &str, list: Vec<Value>) {
    if !list.is_empty() {
        properties[member] = Value::Array(list);
    }
}

fn variables(args: &RunArgs, surroundings: &Surroundings) -> Result<Vec<Value>, BodyError> {
    let one = |text: &String| match text.split_once('=') {
        Some((name, value)) => Ok(json!({"name": name, "value": value})),
        None => surroundings
            .variables
            .get(text)
            .map(|value| json!({"name": text, "value": value}))
            .ok_or_else(|| BodyError::UnsetVariable(text.clone())),
    };
    args.env.iter().map(one).collect()
}

/// Each has its id as last part of its path, so that two of them are not one.
fn output_directories(args: &RunArgs) -> Vec<Value> {
    args.output_dir
        .iter()
        .map(|id| json!({"id": id, "pathPrefix": OUTPUT_PREFIX, "pathSuffix": id}))
        .collect()
}

fn extensions(args: &RunArgs, working_directory: Option<&str>) -> Map<String, Value> {
    let mut resources = Map::new();
    if let Some(gpus) = args.gpus {
        resources.insert("gpusPerNode".into(), gpus.into());
    }
    if let Some(cpus) = args.cpus {
        resources.insert("cpusPerNode".into(), cpus.into());
    }
    if let Some(memory) = &args.memory {
        resources.insert("memory".into(), memory.as_str().into());
    }
    let mut lote = Map::new();
    if !resources.is_empty() {
        lote.insert("resources".into(), Value::Object(resources));
    }
    if let Some(directory) = working_directory {
        lote.insert("workingDirectory".into(), directory.into());
    }
    if args.on_node_loss == NodeLoss::Fail {
        lote.insert("onNodeLoss".into(), "fail".into());
    }
    lote
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, ClientCommand, Invocation};
    use clap::Parser as _;
    use lote_model::job_request;

    fn run_args(words: &[&str]) -> RunArgs {
        let line = ["lote", "run"].iter().chain(words);
        match Cli::try_parse_from(line).unwrap().into_invocation() {
            Invocation::Client(client) => match client.command {
                ClientCommand::Run(run) => run,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    fn body(words: &[&str]) -> Result<Value, BodyError> {
        let surroundings = Surroundings {
            variables: [("HF_TOKEN".to_owned(), "secret".to_owned())].into(),
            ..Surroundings::default()
        };
        let cluster = "/v1/groups/default/workspaces/default/clusters/local";
        of_run(
            &run_args(words),
            cluster,
            Some("/home/u/code"),
            &surroundings,
        )
    }

    #[test]
    fn an_image_makes_a_container() {
        let container = |words: &[&str]| {
            let body = body(words).unwrap();
            body["properties"]["containerSettings"].clone()
        };
        assert_eq!(container(&["--", "true"]), Value::Null);
        assert_eq!(
            container(&["--image=ubuntu:22.04", "--shm-size=8g", "--", "true"]),
            json!({"imageSourceRegistry": {"image": "ubuntu:22.04"}, "shmSize": "8g"})
        );
    }

    #[test]
    fn the_body_of_a_custom_job() {
        let body = body(&[
            "--nodes=2",
            "--gpus=1",
            "--cpus=0.5",
            "--memory=8g",
            "--env=A=1=2",
            "--env=HF_TOKEN",
            "--output-dir=MODEL",
            "--on-node-loss=fail",
            "--",
            "python",
            "train.py",
            "--note",
            "it's $HOME; done",
        ]);
        insta::assert_json_snapshot!(body.unwrap());
    }

    #[test]
    fn the_body_of_a_pytorch_job() {
        let body = body(&[
            "--framework=pytorch",
            "--processes=2",
            "--",
            "/usr/bin/python3",
            "my train.py",
            "-x",
            "a b",
        ]);
        insta::assert_json_snapshot!(body.unwrap());
    }

    #[test]
    fn the_daemon_accepts_both_bodies() {
        let members = [
            "customToolkitSettings".to_owned(),
            "pyTorchSettings".to_owned(),
        ];
        for words in [
            &["--gpus=1", "--output-dir=M", "--env=A=1", "--", "date"][..],
            &["--framework=pytorch", "--nodes=2", "--", "train.py"],
        ] {
            let body = serde_json::to_vec(&body(words).unwrap()).unwrap();
            let request = job_request::parse(&body, &members).unwrap();
            assert_eq!(request.cluster.name.as_str(), "local");
        }
    }

    #[test]
    fn a_plugin_gets_the_command_and_what_is_set() {
        let words = [
            "--plugin=hello@0.2.0",
            "--set=processesPerNode=2",
            "--set=mode=fast",
            "--",
            "echo",
            "$RANK",
        ];
        assert_eq!(
            body(&words).unwrap()["properties"]["pluginSettings"],
            json!({"name": "hello@0.2.0", "settings": {
                "commandLine": "echo '$RANK'", "processesPerNode": 2, "mode": "fast"}})
        );
    }

    #[test]
    fn commands_that_make_no_job_say_what_would() {
        assert_eq!(
            body(&["--env=NOT_SET", "--", "date"]),
            Err(BodyError::UnsetVariable("NOT_SET".into()))
        );
        assert_eq!(
            body(&["--", "a\0b"]),
            Err(BodyError::Framework(FrameworkError::ZeroByte))
        );
    }

    #[test]
    fn a_file_keeps_its_cluster_unless_told_otherwise() {
        let file = |text: &str| match serde_json::from_str(text).unwrap() {
            Value::Object(members) => members,
            _ => panic!("no object"),
        };
        let with = r#"{"id": "x", "properties": {"cluster": {"id": "/a"}}}"#;
        let without = r#"{"properties": {}}"#;
        let id = |body: Value| body["properties"]["cluster"]["id"].clone();
        assert_eq!(id(of_file(file(with), None, "/d")), "/a");
        assert_eq!(id(of_file(file(with), Some("/b"), "/d")), "/b");
        assert_eq!(id(of_file(file(without), None, "/d")), "/d");
        assert_eq!(
            of_file(file(with), None, "/d").as_object().unwrap().len(),
            1
        );
    }

    #[test]
    fn what_only_the_preview_knew_is_left_out() {
        let file = json!({"properties": {"outputDirectories": [
            {"id": "MODEL", "pathPrefix": "/p", "type": "model", "createNew": true},
        ]}});
        let Value::Object(members) = file else {
            panic!("no object")
        };
        assert_eq!(
            of_file(members, None, "/d")["properties"]["outputDirectories"],
            json!([{"id": "MODEL", "pathPrefix": "/p"}])
        );
    }
}
