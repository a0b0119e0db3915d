//! What is different for a process in a container. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lote_model::allocation::NodePlan;
use lote_model::plan::Process;

use crate::container::JobRoot;
use crate::isolation::{BindMount, MountPlan};

/// Variables that say what a system is like: of an image, its own hold.
const OF_THE_SYSTEM: [&str; 7] = ["HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TMPDIR", "USER"];

/// Where programs are looked for.
const SEARCH_PATH: &str = "PATH";

/// What names its variable; the value is one of the runtime's.
const WORK_DIRECTORY: &str = "AZ_BATCHAI_JOB_WORK_DIR";

/// Adds the image's variables. Those that the job sets win, and so do those of the runtime about
/// the job; what the system is like, the image knows.
pub(super) fn add_variables(
    variables: &mut BTreeMap<String, String>,
    root: &JobRoot,
    plan: &NodePlan,
    process: Option<&Process>,
) {
    let own = process.map(|process| process.variables.as_slice());
    let set = plan.user_variables.iter().chain(&plan.launch.variables);
    let set = set.chain(own.unwrap_or_default());
    let set: Vec<&str> = set.map(|variable| variable.name.as_str()).collect();
    let who = [
        ("HOME", root.home.as_str()),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("SHELL", &root.shell),
    ];
    let who = who.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for (name, value) in who.into_iter().chain(root.variables.iter().cloned()) {
        let is_open = !set.contains(&name.as_str());
        if is_open && OF_THE_SYSTEM.contains(&name.as_str()) {
            variables.insert(name, value);
        } else {
            variables.entry(name).or_insert(value);
        }
    }
    for (name, directory) in &root.searched {
        let value = variables.entry(name.clone()).or_default();
        if !value.is_empty() {
            value.push(':');
        }
        value.push_str(directory);
    }
    if let (None, Some(directory)) = (&plan.working_directory, &root.working_directory) {
        variables.insert(WORK_DIRECTORY.to_owned(), directory.clone());
    }
}

/// Has programs looked for in the directory that the operator names for an image before anywhere
/// else, unless the job says itself where to look.
pub(super) fn search_first(
    variables: &mut BTreeMap<String, String>,
    directory: &Path,
    plan: &NodePlan,
) {
    let set = &plan.user_variables;
    if set.iter().any(|variable| variable.name == SEARCH_PATH) {
        return;
    }
    let elsewhere = variables.remove(SEARCH_PATH).unwrap_or_default();
    let path = format!("{}:{elsewhere}", directory.display());
    variables.insert(SEARCH_PATH.to_owned(), path);
}

/// A command line for the image's shell. It reads `~/.bashrc`, in which images and preparations
/// announce what they have installed; that of some systems stops where there is no prompt.
pub(super) fn shell(line: &str, root: &JobRoot) -> Vec<String> {
    let script = format!("if [ -r ~/.bashrc ]; then PS1='$ '; . ~/.bashrc; unset PS1; fi\n{line}");
    [root.shell.clone(), "-c".to_owned(), script].to_vec()
}

/// The same view in the container's root: of the machine it has what is shown, and nothing has to
/// be hidden.
pub(super) fn move_in(mounts: &mut MountPlan, root: &JobRoot) {
    mounts.root = Some(root.root.clone());
    mounts.hidden.clear();
    mounts.detached.clear();
    mounts.read_only.clear();
    // The image has users of its own.
    let of_the_machine = [Path::new("/etc/passwd"), Path::new("/etc/group")];
    let binds = &mut mounts.binds;
    binds.retain(|bind| !of_the_machine.contains(&bind.target.as_path()));
    let shown = root.shown.iter().filter(|(_, target)| {
        // The names of a gang come before the machine's.
        !binds.iter().any(|bind| bind.target == *target)
    });
    let shown: Vec<_> = shown.map(read_only).collect();
    binds.extend(shown);
}

fn read_only((source, target): &(PathBuf, PathBuf)) -> BindMount {
    BindMount {
        source: source.clone(),
        target: target.clone(),
        read_only: true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::container::Surroundings;
    use super::super::process_spec::{JobContext, tests::job};
    use super::*;
    use crate::isolation::{ContainerRoot, Identity};

    const USER: Identity = Identity {
        uid: 2_000_000,
        gid: 2_000_000,
    };

    fn root() -> JobRoot {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        JobRoot {
            image: "i".into(),
            root: ContainerRoot {
                path: "/data/mounts/u1.1/container/root".into(),
                user_namespace: "/data/mounts/u1.1/container/user".into(),
                owner: USER,
            },
            key: None,
            variables: vec![
                pair("PATH", "/opt/bin:/bin"),
                pair("OWN", "image"),
                pair("CUDA_VISIBLE_DEVICES", "all"),
                pair("LD_LIBRARY_PATH", "/opt/lib"),
            ],
            working_directory: Some("/work".into()),
            shown: vec![("/etc/hosts".into(), "/etc/hosts".into())],
            searched: vec![pair("LD_LIBRARY_PATH", "/nvidia")],
            shell: "/bin/sh".into(),
            home: "/root".into(),
        }
    }

    #[test]
    fn the_job_comes_before_the_image_and_that_before_the_node() {
        let mut job = job(Path::new("/data"), &["0"], Some(USER));
        job.plan
            .user_variables
            .push(lote_model::plan::Variable::new("HOME", "/mine"));
        job.root.set(root()).unwrap();
        let spec = job.process(&job.plan.launch.processes[0], 0);
        let value = |name: &str| {
            let found = spec.env.iter().find(|(own, _)| own == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(value("PATH"), Some("/opt/bin:/bin"));
        assert_eq!(value("OWN"), Some("image"));
        assert_eq!(value("HOME"), Some("/mine"));
        assert_eq!(value("USER"), Some("root"));
        assert_eq!(value("RANK"), Some("0"));
        assert_eq!(value("CUDA_VISIBLE_DEVICES"), Some(""));
        assert_eq!(value("LD_LIBRARY_PATH"), Some("/opt/lib:/nvidia"));
        assert_eq!(spec.working_directory, Path::new("/work"));
        assert_eq!(spec.argv[..2], ["/bin/sh", "-c"]);
    }

    #[test]
    fn the_whole_view_of_a_contained_process() {
        let job = job(Path::new("/data"), &["0", "1"], Some(USER));
        job.root.set(root()).unwrap();
        let spec = job.process(&job.plan.launch.processes[1], 0);
        insta::assert_json_snapshot!(spec.mounts);
    }

    #[test]
    fn programs_of_the_operator_stand_before_those_of_the_node() {
        let mut job = job(Path::new("/data"), &["main"], None);
        let path = |job: &JobContext| {
            let spec = job.process(&job.plan.launch.processes[0], 0);
            let found = spec.env.into_iter().find(|(name, _)| name == SEARCH_PATH);
            found.map(|(_, value)| value).unwrap_or_default()
        };
        let before = path(&job);
        job.surroundings = Surroundings::Node(Some("/opt/chainer/bin".into()));
        assert_eq!(path(&job), format!("/opt/chainer/bin:{before}"));
        let own = lote_model::plan::Variable::new(SEARCH_PATH, "/mine");
        job.plan.user_variables.push(own);
        assert_eq!(path(&job), "/mine", "what the job says wins");
    }
}
