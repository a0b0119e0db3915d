//! From the fork to the command's first instruction.
//!
//! Runs in a process that shares or copies the shim's memory, between its creation
//! and the execution of the command. Every step that fails ends it with the step's name.

use std::convert::Infallible;
use std::ffi::CString;
use std::fmt::Display;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::unistd::execve;

use super::exit::{SetupFailure, SetupStep};
use super::handed_over::open_handed_over;
use super::spec::{DirectorySpec, LimitedResource, ProcessSpec, ResourceLimit};
use crate::isolation::{apply_mounts, become_identity, become_root_of, drop_privileges_for_good};

/// Where commands are looked up if the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Joins the cgroups of these files, sets everything else up and executes the
/// command; returns only if that failed.
pub(super) fn execute(spec: &ProcessSpec, cgroup_procs: &[PathBuf]) -> SetupFailure {
    match set_up(spec, cgroup_procs) {
        Err(failure) => failure,
        Ok(never) => match never {},
    }
}

fn set_up(spec: &ProcessSpec, cgroup_procs: &[PathBuf]) -> Result<Infallible, SetupFailure> {
    nix::unistd::setsid().map_err(failed(SetupStep::Fork, "a new session"))?;
    // Cgroups first: everything from here on counts to the job and can be killed
    // with it.
    for file in cgroup_procs {
        join(file).map_err(failed(SetupStep::JoinCgroup, file.display()))?;
    }
    let spooled = spec.spooled.then(|| Streams::open(spec)).transpose()?;
    let plan = spec.mounts.as_ref();
    let user_namespace = plan.map(apply_mounts).transpose();
    let user_namespace = user_namespace
        .map_err(|error| failed(SetupStep::Mount, error.path.display())(error.source))?;
    set_limits(spec)?;
    match user_namespace.flatten() {
        Some(user_namespace) => become_root_of(&user_namespace).map_err(failed(
            SetupStep::DropPrivileges,
            "the root of the container",
        ))?,
        None => drop_privileges(spec)?,
    }
    for directory in &spec.directories {
        create_directory(directory)?;
    }
    match spooled {
        Some(streams) => streams.redirect()?,
        None => Streams::open(spec)?.redirect()?,
    }
    let directory = &spec.working_directory;
    nix::unistd::chdir(directory)
        .map_err(failed(SetupStep::EnterDirectory, directory.display()))?;
    execute_command(spec)
}

/// Joins a cgroup. Version 1 has a file for single threads beside that for whole
/// processes. This process is one thread, so both mean the same, but the first
/// spares the lock that [`sys::fork_into`](super::sys::fork_into) tells of.
fn join(cgroup_procs: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let options = options.write(true);
    match options.open(cgroup_procs.with_file_name("tasks")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => options.open(cgroup_procs)?,
        file => file?,
    }
    .write_all(b"0")
}

fn set_limits(spec: &ProcessSpec) -> Result<(), SetupFailure> {
    let no_core_dumps = ResourceLimit {
        resource: LimitedResource::CoreBytes,
        value: Some(0),
    };
    for limit in std::iter::once(&no_core_dumps).chain(&spec.resource_limits) {
        let (resource, name) = kernel_resource(limit.resource);
        let value = limit.value.unwrap_or(nix::sys::resource::RLIM_INFINITY);
        setrlimit(resource, value, value).map_err(failed(SetupStep::SetLimit, name))?;
    }
    std::fs::write(
        "/proc/self/oom_score_adj",
        spec.oom_score_adjustment.to_string(),
    )
    .map_err(failed(SetupStep::SetLimit, "out-of-memory score"))?;
    umask(Mode::from_bits_truncate(spec.umask));
    Ok(())
}

fn kernel_resource(resource: LimitedResource) -> (Resource, &'static str) {
    match resource {
        LimitedResource::OpenFiles => (Resource::RLIMIT_NOFILE, "open files"),
        LimitedResource::LockedMemoryBytes => (Resource::RLIMIT_MEMLOCK, "locked memory"),
        LimitedResource::StackBytes => (Resource::RLIMIT_STACK, "stack"),
        LimitedResource::CoreBytes => (Resource::RLIMIT_CORE, "core dump"),
    }
}

fn drop_privileges(spec: &ProcessSpec) -> Result<(), SetupFailure> {
    let step = SetupStep::DropPrivileges;
    if let Some(identity) = spec.identity {
        become_identity(identity).map_err(failed(step, format!("user {}", identity.uid)))?;
    }
    drop_privileges_for_good(spec.identity.is_some()).map_err(failed(step, "the process"))
}

fn create_directory(directory: &DirectorySpec) -> Result<(), SetupFailure> {
    let mut builder = DirBuilder::new();
    let created = builder
        .recursive(true)
        .mode(directory.mode)
        .create(&directory.path);
    created.map_err(failed(SetupStep::CreateDirectory, directory.path.display()))
}

/// The files that standard output and standard error go to.
struct Streams {
    output: File,
    /// `None` if it is the same.
    errors: Option<File>,
}

impl Streams {
    fn open(spec: &ProcessSpec) -> Result<Self, SetupFailure> {
        let separate = spec.stderr != spec.stdout;
        Ok(Self {
            output: open_output(spec, &spec.stdout)?,
            errors: separate
                .then(|| open_output(spec, &spec.stderr))
                .transpose()?,
        })
    }

    fn redirect(&self) -> Result<(), SetupFailure> {
        let null = Path::new("/dev/null");
        let input = File::open(null).map_err(failed(SetupStep::OpenOutput, null.display()))?;
        let put = |result: rustix::io::Result<()>| {
            result.map_err(failed(SetupStep::OpenOutput, "standard streams"))
        };
        let errors = self.errors.as_ref().unwrap_or(&self.output);
        put(rustix::stdio::dup2_stdin(&input))?;
        put(rustix::stdio::dup2_stderr(errors))?;
        put(rustix::stdio::dup2_stdout(&self.output))
    }
}

fn open_output(spec: &ProcessSpec, path: &Path) -> Result<File, SetupFailure> {
    let opened = if spec.spooled {
        open_handed_over(path, spec.identity)
    } else {
        let mut options = OpenOptions::new();
        options
            .append(true)
            .create(true)
            .mode(0o666)
            .custom_flags(nix::libc::O_NOCTTY);
        options.open(path)
    };
    opened.map_err(failed(SetupStep::OpenOutput, path.display()))
}

fn execute_command(spec: &ProcessSpec) -> Result<Infallible, SetupFailure> {
    let command = spec.argv.first().map_or("", String::as_str);
    let fail = |errno| failed(SetupStep::Execute, command)(errno);
    let arguments = c_strings(spec.argv.iter().cloned()).map_err(fail)?;
    let open = spec.env.iter().map(|(name, value)| (name, value.as_str()));
    // As in any environment, a name must not be there twice.
    let is_open =
        |(name, _): &(&String, &str)| !spec.secret_env.0.iter().any(|(own, _)| own == *name);
    let hidden = (spec.secret_env.0.iter()).map(|(name, value)| (name, value.expose()));
    let pairs = open
        .filter(is_open)
        .chain(hidden)
        .map(|(name, value)| format!("{name}={value}"));
    let environment = c_strings(pairs).map_err(fail)?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).map_err(fail)?;
    let mut reason = Errno::ENOENT;
    for candidate in candidates(command, &spec.env) {
        let Ok(program) = CString::new(candidate) else {
            continue;
        };
        match execve(&program, &arguments, &environment) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            // Somewhere later in the path there may be one that may be executed.
            Err(Errno::EACCES) => reason = Errno::EACCES,
            Err(errno) => return Err(fail(errno)),
        }
    }
    Err(fail(reason))
}

/// The files that a command may mean, in order.
fn candidates(command: &str, environment: &[(String, String)]) -> Vec<String> {
    if command.contains('/') {
        return vec![command.to_owned()];
    }
    let path = environment.iter().find(|(name, _)| name == "PATH");
    let path = path.map_or(DEFAULT_PATH, |(_, value)| value);
    let directories = path
        .split(':')
        .filter(|directory| directory.starts_with('/'));
    match command {
        "" => Vec::new(),
        _ => directories
            .map(|directory| format!("{directory}/{command}"))
            .collect(),
    }
}

fn c_strings(texts: impl Iterator<Item = String>) -> Result<Vec<CString>, Errno> {
    texts
        .map(|text| CString::new(text).map_err(|_| Errno::EINVAL))
        .collect()
}

fn failed<E: Into<io::Error>>(
    step: SetupStep,
    subject: impl Display,
) -> impl FnOnce(E) -> SetupFailure {
    move |error| {
        let errno = error.into().raw_os_error().unwrap_or(nix::libc::EIO);
        SetupFailure::new(step, subject.to_string(), Errno::from_raw(errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(value: &str) -> Vec<(String, String)> {
        vec![("PATH".into(), value.into())]
    }

    #[test]
    fn looks_a_bare_command_up_in_the_given_path() {
        assert_eq!(candidates("ls", &path("/a:/b")), ["/a/ls", "/b/ls"]);
        assert_eq!(
            candidates("ls", &[]),
            ["/usr/local/bin/ls", "/usr/bin/ls", "/bin/ls"]
        );
    }

    #[test]
    fn never_looks_in_the_working_directory() {
        assert_eq!(candidates("ls", &path(":.:/b:")), ["/b/ls"]);
    }

    #[test]
    fn takes_a_command_with_a_slash_as_it_is() {
        assert_eq!(candidates("./run", &path("/a")), ["./run"]);
        assert!(candidates("", &path("/a")).is_empty());
    }
}
