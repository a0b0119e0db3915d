//! From the command of `lote run` to the settings of the framework that is to start it.

use lote_model::framework::PLUGIN_SETTINGS;
use serde_json::{Map, Value, json};

use crate::args::run::{Framework, RunArgs};
use crate::job_name::has_ending;

/// Why a command and its options are no settings. The messages say what to type instead.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameworkError {
    /// A word cannot be part of a command line.
    #[error("the command has a word with a zero byte, which no program can be given")]
    ZeroByte,
    /// `--processes` for a framework whose number of processes is given.
    #[error("--processes is for frameworks that start several; {0}")]
    FixedProcesses(&'static str),
    /// `--backend` for a framework that has none.
    #[error("--backend is for --framework pytorch")]
    NoBackend,
    /// The framework starts something else than this command.
    #[error(
        "--framework {framework} starts {starts}; leave --framework away, or take custommpi, to run any other command"
    )]
    NotStarted {
        /// What was asked for.
        framework: String,
        /// What the command must be.
        starts: &'static str,
    },
}

const SCRIPT: &str =
    "a Python script, so the command must be `SCRIPT.py …` or `python SCRIPT.py …`";

const CAFFE: &str = "a solver or a Python script, so the command must be `SOLVER.prototxt …`, \
     `caffe train -solver FILE …`, `SCRIPT.py …` or `python SCRIPT.py …`";

const CNTK: &str = "a BrainScript configuration or a Python script, so the command must be `FILE.cntk …`, \
     `cntk configFile=FILE …`, `SCRIPT.py …` or `python SCRIPT.py …`";

type Settings = Map<String, Value>;

/// The member of a job's properties for this command, and what is in it.
pub(crate) fn of_run(args: &RunArgs) -> Result<(&'static str, Value), FrameworkError> {
    if let Some(name) = &args.plugin {
        let mut settings = command_line(args)?;
        add_further(&mut settings, args);
        return Ok((PLUGIN_SETTINGS, json!({"name": name, "settings": settings})));
    }
    let framework = args.framework;
    let mut settings = match framework {
        Framework::Custom | Framework::CustomMpi => command_line(args)?,
        Framework::PyTorch | Framework::Horovod | Framework::Chainer | Framework::Caffe2 => {
            Script::of(args, SCRIPT)?.settings()?
        }
        Framework::TensorFlow => tensorflow(args)?,
        Framework::Cntk => match brain_script(&args.command) {
            Some((file, rest)) => configuration(file, rest)?,
            None => Script::of(args, CNTK)?.settings()?,
        },
        Framework::Caffe => match solver(&args.command) {
            Some((file, rest)) => configuration(file, &rest)?,
            None => Script::of(args, CAFFE)?.settings()?,
        },
    };
    if let Some(count) = args.processes {
        settings.insert(process_count(framework)?.into(), count.into());
    }
    if let Some(backend) = backend(args)? {
        settings.insert("communicationBackend".into(), backend.into());
    }
    add_further(&mut settings, args);
    Ok((member(framework), Value::Object(settings)))
}

fn member(framework: Framework) -> &'static str {
    match framework {
        Framework::Custom => "customToolkitSettings",
        Framework::CustomMpi => "customMpiSettings",
        Framework::PyTorch => "pyTorchSettings",
        Framework::TensorFlow => "tensorFlowSettings",
        Framework::Horovod => "horovodSettings",
        Framework::Chainer => "chainerSettings",
        Framework::Cntk => "cntkSettings",
        Framework::Caffe => "caffeSettings",
        Framework::Caffe2 => "caffe2Settings",
    }
}

/// The setting that says how many processes there are.
fn process_count(framework: Framework) -> Result<&'static str, FrameworkError> {
    match framework {
        Framework::Custom => Err(FrameworkError::FixedProcesses(
            "`custom` runs the command once, on the first node",
        )),
        Framework::Caffe2 => Err(FrameworkError::FixedProcesses(
            "`caffe2` has one on each node, so give --nodes",
        )),
        Framework::TensorFlow => Ok("workerCount"),
        _ => Ok("processCount"),
    }
}

fn backend(args: &RunArgs) -> Result<Option<&str>, FrameworkError> {
    if args.framework != Framework::PyTorch {
        return args
            .backend
            .as_ref()
            .map_or(Ok(None), |_| Err(FrameworkError::NoBackend));
    }
    let default = has_several_processes(args).then_some("Gloo");
    Ok(args.backend.as_deref().or(default))
}

fn has_several_processes(args: &RunArgs) -> bool {
    args.nodes > 1 || args.processes.is_some_and(|count| count > 1)
}

/// What was given by `--set` wins over what was made of the command.
fn add_further(settings: &mut Settings, args: &RunArgs) {
    for (name, value) in &args.settings {
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.as_str().into());
        settings.insert(name.clone(), value);
    }
}

fn command_line(args: &RunArgs) -> Result<Settings, FrameworkError> {
    let mut settings = Settings::new();
    insert(&mut settings, "commandLine", &args.command)?;
    Ok(settings)
}

/// One script for every role, which finds its own in `TF_CONFIG`.
fn tensorflow(args: &RunArgs) -> Result<Settings, FrameworkError> {
    let script = Script::of(args, SCRIPT)?;
    let mut settings = script.program()?;
    insert(&mut settings, "masterCommandLineArgs", script.arguments)?;
    insert(&mut settings, "workerCommandLineArgs", script.arguments)?;
    let named = |(name, _): &(String, String)| name == "parameterServerCount";
    // Their arguments alone would ask for a parameter server.
    if has_several_processes(args) || args.settings.iter().any(named) {
        insert(
            &mut settings,
            "parameterServerCommandLineArgs",
            script.arguments,
        )?;
    }
    Ok(settings)
}

/// A command that starts a Python script.
struct Script<'a> {
    interpreter: Option<&'a String>,
    path: &'a String,
    arguments: &'a [String],
}

impl<'a> Script<'a> {
    fn of(args: &'a RunArgs, starts: &'static str) -> Result<Self, FrameworkError> {
        Self::find(&args.command).ok_or_else(|| FrameworkError::NotStarted {
            framework: args.framework.name(),
            starts,
        })
    }

    fn find(command: &'a [String]) -> Option<Self> {
        let (interpreter, rest) = match command.split_first() {
            Some((first, rest)) if is_python(first) => (Some(first), rest),
            _ => (None, command),
        };
        let (path, arguments) = rest.split_first()?;
        let is_script = !path.starts_with('-') && (interpreter.is_some() || has_ending(path, "py"));
        is_script.then_some(Self {
            interpreter,
            path,
            arguments,
        })
    }

    /// Its interpreter and its path.
    fn program(&self) -> Result<Settings, FrameworkError> {
        let mut settings = Settings::new();
        let one = std::slice::from_ref;
        insert(&mut settings, "pythonScriptFilePath", one(self.path))?;
        if let Some(path) = self.interpreter.filter(|path| *path != "python") {
            insert(&mut settings, "pythonInterpreterPath", one(path))?;
        }
        Ok(settings)
    }

    /// All of it.
    fn settings(&self) -> Result<Settings, FrameworkError> {
        let mut settings = self.program()?;
        insert(&mut settings, "commandLineArgs", self.arguments)?;
        Ok(settings)
    }
}

/// `python`, `python3`, `python3.11`, in any folder.
fn is_python(word: &str) -> bool {
    let program = word.rsplit('/').next().unwrap_or(word);
    program
        .strip_prefix("python")
        .is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// The configuration that `cntk configFile=FILE …` or `FILE.cntk …` is about, and the rest.
fn brain_script(command: &[String]) -> Option<(&str, &[String])> {
    let (first, rest) = command.split_first()?;
    if first == "cntk" {
        let (first, rest) = rest.split_first()?;
        return Some((first.strip_prefix("configFile=")?, rest));
    }
    has_ending(first, "cntk").then_some((first.as_str(), rest))
}

/// The solver that `caffe train -solver FILE …` or `FILE.prototxt …` is about, and the rest.
fn solver(command: &[String]) -> Option<(&str, Vec<String>)> {
    let (first, rest) = command.split_first()?;
    if has_ending(first, "prototxt") {
        return Some((first.as_str(), rest.to_vec()));
    }
    let (second, rest) = rest.split_first()?;
    if first != "caffe" || second != "train" {
        return None;
    }
    // One dash or two, the value behind `=` or as the next word.
    let option = |word: &String| {
        let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'));
        name.is_some_and(|name| name == "solver" || name.starts_with("solver="))
    };
    let at = rest.iter().position(option)?;
    let (file, words) = match rest[at].split_once('=') {
        Some((_, file)) => (file, 1),
        None => (rest.get(at + 1)?.as_str(), 2),
    };
    Some((file, [&rest[..at], &rest[at + words..]].concat()))
}

fn configuration(file: &str, arguments: &[String]) -> Result<Settings, FrameworkError> {
    let mut settings = Settings::new();
    insert(&mut settings, "configFilePath", &[file.to_owned()])?;
    insert(&mut settings, "commandLineArgs", arguments)?;
    Ok(settings)
}

/// Puts words in as shell text; no words leave the setting away.
fn insert(settings: &mut Settings, name: &str, words: &[String]) -> Result<(), FrameworkError> {
    if !words.is_empty() {
        settings.insert(name.into(), quoted(words)?.into());
    }
    Ok(())
}

/// The words as shell text that gives exactly these words again: the API's command
/// lines are read by a shell, the user's own shell has read them once already.
fn quoted(words: &[String]) -> Result<String, FrameworkError> {
    shlex::try_join(words.iter().map(String::as_str)).map_err(|_| FrameworkError::ZeroByte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, ClientCommand, Invocation};
    use clap::Parser as _;

    fn settings(words: &str) -> Result<(&'static str, Value), FrameworkError> {
        let line = ["lote", "run"].into_iter().chain(words.split(' '));
        match Cli::try_parse_from(line).unwrap().into_invocation() {
            Invocation::Client(client) => match client.command {
                ClientCommand::Run(args) => of_run(&args),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_framework_has_its_member() {
        for (words, member, expected) in [
            (
                "-- ./solve -x",
                "customToolkitSettings",
                json!({"commandLine": "./solve -x"}),
            ),
            (
                "--framework custommpi --processes 4 -- ./solve -x",
                "customMpiSettings",
                json!({"commandLine": "./solve -x", "processCount": 4}),
            ),
            (
                "--framework pytorch --nodes 2 -- train.py",
                "pyTorchSettings",
                json!({"pythonScriptFilePath": "train.py", "communicationBackend": "Gloo"}),
            ),
            (
                "--framework horovod --processes 2 -- /opt/h/bin/python train.py -e 3",
                "horovodSettings",
                json!({"pythonInterpreterPath": "/opt/h/bin/python",
                    "pythonScriptFilePath": "train.py", "commandLineArgs": "-e 3",
                    "processCount": 2}),
            ),
            (
                "--framework chainer -- python train.py",
                "chainerSettings",
                json!({"pythonScriptFilePath": "train.py"}),
            ),
            (
                "--framework caffe2 --nodes 2 -- python3 train.py a",
                "caffe2Settings",
                json!({"pythonInterpreterPath": "python3",
                    "pythonScriptFilePath": "train.py", "commandLineArgs": "a"}),
            ),
        ] {
            assert_eq!(settings(words), Ok((member, expected)), "{words}");
        }
    }

    #[test]
    fn tensorflow_gives_every_role_the_same_arguments() {
        let one = json!({"pythonScriptFilePath": "train.py", "masterCommandLineArgs": "-e 3",
            "workerCommandLineArgs": "-e 3"});
        let alone = settings("--framework tensorflow -- train.py -e 3").unwrap();
        assert_eq!(alone, ("tensorFlowSettings", one.clone()));
        let mut several = one;
        several["parameterServerCommandLineArgs"] = json!("-e 3");
        several["workerCount"] = json!(2);
        let words = "--framework tensorflow --processes 2 -- train.py -e 3";
        assert_eq!(settings(words).unwrap().1, several);
        several["parameterServerCount"] = json!(0);
        let words =
            "--framework tensorflow --processes 2 --set parameterServerCount=0 -- train.py -e 3";
        assert_eq!(settings(words).unwrap().1, several);
    }

    #[test]
    fn programs_of_frameworks_are_started_as_one_would_by_hand() {
        let solver = json!({"configFilePath": "s.prototxt", "commandLineArgs": "-gpu all"});
        for words in [
            "s.prototxt -gpu all",
            "caffe train -solver s.prototxt -gpu all",
            "caffe train -gpu all --solver=s.prototxt",
            "caffe train -gpu --solver s.prototxt all",
        ] {
            let words = format!("--framework caffe -- {words}");
            assert_eq!(settings(&words), Ok(("caffeSettings", solver.clone())));
        }
        let digits = json!({"configFilePath": "d.cntk", "commandLineArgs": "'a=b'"});
        for words in ["d.cntk a=b", "cntk configFile=d.cntk a=b"] {
            let words = format!("--framework cntk -- {words}");
            assert_eq!(settings(&words), Ok(("cntkSettings", digits.clone())));
        }
        for (name, member) in [("caffe", "caffeSettings"), ("cntk", "cntkSettings")] {
            let words = format!("--framework {name} -- python train.py");
            let script = json!({"pythonScriptFilePath": "train.py"});
            assert_eq!(settings(&words), Ok((member, script)));
        }
    }

    #[test]
    fn what_is_set_wins() {
        let words = "--framework cntk --set languageType=Python --set processCount=3 -- train.py";
        let expected = json!({"pythonScriptFilePath": "train.py", "languageType": "Python",
            "processCount": 3});
        assert_eq!(settings(words).unwrap().1, expected);
    }

    #[test]
    fn commands_that_make_no_job_say_what_would() {
        for words in [
            "pytorch -- python -m train",
            "pytorch -- python",
            "pytorch -- ./train",
            "horovod -- ./train",
            "caffe -- caffe test -model m.prototxt",
            "caffe -- caffe train -gpu all",
            "cntk -- cntk d.cntk",
            "tensorflow -- ./train",
        ] {
            let found = settings(&format!("--framework {words}"));
            let name = words.split(' ').next().unwrap_or_default();
            assert!(
                matches!(&found, Err(FrameworkError::NotStarted { framework, .. }) if framework == name),
                "{words}: {found:?}"
            );
        }
        for words in [
            "--processes 2 -- date",
            "--framework caffe2 --processes 2 -- a.py",
        ] {
            let found = settings(words);
            assert!(matches!(found, Err(FrameworkError::FixedProcesses(_))));
        }
        let found = settings("--framework horovod --backend mpi -- a.py");
        assert_eq!(found, Err(FrameworkError::NoBackend));
        assert_eq!(settings("-- a\0b"), Err(FrameworkError::ZeroByte));
    }

    #[test]
    fn a_shell_gives_the_words_back() {
        let words: Vec<String> = [
            "printf", "[%s]", "a b", "it's", "$HOME", "`x`", "", "*", "ä\n!",
        ]
        .map(str::to_owned)
        .into();
        let output = std::process::Command::new("bash")
            .args(["-c", &quoted(&words).unwrap()])
            .output()
            .unwrap();
        let seen = String::from_utf8(output.stdout).unwrap();
        assert_eq!(seen, format!("[{}]", words[2..].join("][")));
    }
}
