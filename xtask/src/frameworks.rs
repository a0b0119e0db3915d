//! The frameworks that the recipes need, each in a directory of its own.
//!
//! They do not lie below the target directory: jobs run as users who must be able to enter the
//! place, and the recipes' job files name it. What installs a framework is the recipe's own
//! script, so that whoever follows the recipe gets what is tested. What was installed stays, and
//! is made anew when its script changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::command;
use crate::error::{self, Error};
use crate::stage::Tally;
use crate::workspace::Workspace;

/// Where the recipes' job files look for frameworks.
const PLACE: &str = "/opt/lote-frameworks";

/// How long the installation of one framework may take: most of it is waiting for packages, and
/// for processors that other stages have.
const INSTALL_LIMIT: Duration = Duration::from_mins(50);

/// How far installations stand back for what runs beside them, as `nice` counts.
const NICENESS: &str = "10";

/// A framework that is no Debian package.
struct Framework {
    /// Its directory below [`PLACE`].
    name: &'static str,
    /// Its script below `docs/recipes`.
    script: &'static str,
    /// The Python it needs, unless it is Debian's.
    python: Option<&'static str>,
}

const fn framework(
    name: &'static str,
    script: &'static str,
    python: Option<&'static str>,
) -> Framework {
    Framework {
        name,
        script,
        python,
    }
}

/// Those that build first, because they take the processors and the others the network.
const FRAMEWORKS: [Framework; 8] = [
    framework("horovod", "horovod/install.sh", None),
    framework("caffe2", "caffe2/install.sh", Some("3.8")),
    framework("tensorflow", "tensorflow/install.sh", None),
    framework("tensorflow-1", "tensorflow-1/install.sh", Some("3.6")),
    framework("cntk", "cntk/install.sh", Some("3.6")),
    framework("chainer", "chainer/install.sh", Some("3.8")),
    framework("pytorch-mpi", "pytorch/install-mpi.sh", None),
    framework("mpich", "custom-mpi/install-mpich.sh", None),
];

/// Programs of frameworks that cannot be had: what stands in for them is copied to where the
/// recipes look, with the modules that it needs.
const STAND_INS: [(&str, &[&str]); 2] = [
    ("caffe", &["caffe", "caffe_net.py", "caffe_proto.py"]),
    (
        "cntk-brainscript",
        &["cntk", "cntk_config.py", "cntk_network.py"],
    ),
];

/// An installation that runs beside other stages.
pub(crate) struct Installation(JoinHandle<Result<Tally, Error>>);

impl Installation {
    /// Begins it.
    pub(crate) fn begin(workspace: &Workspace, logs: &Path) -> Self {
        let (workspace, logs) = (workspace.clone(), logs.to_owned());
        Self(std::thread::spawn(move || install(&workspace, &logs)))
    }

    /// Waits for its end.
    pub(crate) fn wait(self) -> Result<Tally, Error> {
        let panicked = |_| Error::Other("the thread that installs frameworks panicked".into());
        self.0.join().map_err(panicked)?
    }
}

/// Installs all that is missing, side by side. What does not work is a failure; what this machine
/// has no Python for is left to the tests, which say so and count as skipped.
pub(crate) fn install(workspace: &Workspace, logs: &Path) -> Result<Tally, Error> {
    fs::create_dir_all(PLACE).map_err(Error::file("create", Path::new(PLACE)))?;
    for (name, files) in STAND_INS {
        stand_in(workspace, name, files)?;
    }
    let mut tally = Tally::default();
    let mut ready = Vec::new();
    for framework in &FRAMEWORKS {
        match framework.python.map(python).transpose() {
            Ok(python) => ready.push((framework, python)),
            Err(missing @ Error::Missing { .. }) => println!("   {}", error::chain(&missing)),
            Err(error) => tally.fail(error::chain(&error)),
        }
    }
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let start = |(framework, python): (&'static Framework, Option<PathBuf>)| {
            scope.spawn(move || {
                let outcome = ensure(workspace, framework, python.as_deref(), logs);
                (framework.name, outcome)
            })
        };
        let running: Vec<_> = ready.into_iter().map(start).collect();
        running
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect()
    });
    for outcome in outcomes {
        match outcome {
            Ok((_, Ok(()))) => {}
            Ok((name, Err(error))) => tally.fail(format!("{name}: {}", error::chain(&error))),
            Err(_) => tally.fail("a thread that installs a framework panicked"),
        }
    }
    Ok(tally)
}

/// Runs a framework's script unless the same script has succeeded before.
fn ensure(
    workspace: &Workspace,
    framework: &Framework,
    python: Option<&Path>,
    logs: &Path,
) -> Result<(), Error> {
    let script = workspace.root.join("docs/recipes").join(framework.script);
    let folder = Path::new(PLACE).join(framework.name);
    let marker = Path::new(PLACE).join(format!("{}.installed", framework.name));
    let wanted = fs::read_to_string(&script).map_err(Error::file("read", &script))?;
    if fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    println!("   installing {}", folder.display());
    if marker.exists() {
        fs::remove_file(&marker).map_err(Error::file("remove", &marker))?;
    }
    let mut install = Command::new("nice");
    install
        .args(["-n", NICENESS, "sh"])
        .arg(&script)
        .arg(&folder);
    install.envs(python.map(|python| ("PYTHON", python)));
    // Others may have set what only their own Python should see.
    install.env_remove("PYTHONPATH").env_remove("PYTHONHOME");
    let log = logs.join(format!("install-{}.log", framework.name));
    let started = Instant::now();
    let ended = command::run_logged(&mut install, &log, INSTALL_LIMIT)?;
    if !ended.success() {
        return Err(Error::Failed {
            command: command::line(&install),
            status: ended,
            output: command::last_characters(&command::read_lossy(&log)?).to_owned(),
        });
    }
    let seconds = started.elapsed().as_secs();
    println!("   {} is installed ({seconds} s)", framework.name);
    fs::write(&marker, wanted).map_err(Error::file("write", &marker))
}

/// A Python of an older version that users of jobs may run: a copy, because pyenv's lie in root's
/// home.
fn python(version: &str) -> Result<PathBuf, Error> {
    let copy = Path::new(PLACE).join(format!("python-{version}"));
    let program = copy.join(format!("bin/python{version}"));
    let marker = copy.join("copied");
    if marker.exists() {
        return Ok(program);
    }
    let found = pyenv_version(version).ok_or_else(|| Error::Missing {
        what: format!("Python {version}"),
        advice: format!("install it with `pyenv install {version}`"),
    })?;
    println!("   copying {} to {}", found.display(), copy.display());
    if copy.exists() {
        fs::remove_dir_all(&copy).map_err(Error::file("remove", &copy))?;
    }
    fs::create_dir_all(&copy).map_err(Error::file("create", &copy))?;
    let mut command = Command::new("cp");
    command.args(["--archive", "--target-directory"]).arg(&copy);
    command.args(["bin", "include", "lib"].map(|part| found.join(part)));
    command::run(&mut command)?;
    // It would look for its library in root's home.
    let mut command = Command::new("patchelf");
    command
        .args(["--set-rpath", "$ORIGIN/../lib"])
        .arg(&program);
    command::run(&mut command)?;
    fs::write(&marker, "").map_err(Error::file("write", &marker))?;
    Ok(program)
}

/// The newest installation of a version below pyenv's folder.
fn pyenv_version(version: &str) -> Option<PathBuf> {
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let root = root.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv")))?;
    let installed = fs::read_dir(root.join("versions")).ok()?;
    let paths = installed.flatten().map(|entry| entry.path());
    let prefix = format!("{version}.");
    let fitting = paths.filter_map(|path| {
        let patch = path.file_name()?.to_str()?.strip_prefix(&prefix)?;
        Some((patch.parse::<u32>().ok()?, path))
    });
    fitting.max().map(|(_, path)| path)
}

/// Copies a stand-in to where its recipe looks for the real program.
fn stand_in(workspace: &Workspace, name: &str, files: &[&str]) -> Result<(), Error> {
    let sources = workspace.root.join("tests/frameworks/stand-ins");
    let folder = Path::new(PLACE).join(name).join("bin");
    fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
    for file in files {
        let copy = folder.join(file);
        fs::copy(sources.join(file), &copy).map_err(Error::file("write", &copy))?;
    }
    Ok(())
}
