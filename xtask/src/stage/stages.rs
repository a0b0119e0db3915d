//! The stages, cheap ones first.

use std::process::Command;

use crate::artifacts;
use crate::command;
use crate::demo;
use crate::error::{self, Error};
use crate::frameworks::{self, Installation};
use crate::fuzz;
use crate::install;
use crate::node_image::{self, Flavor};
use crate::nvidia;
use crate::planted;
use crate::stage::{Session, Stage, Tally};
use crate::{architecture, supply};

/// All stages, in the order in which they run.
pub(super) const STAGES: &[Stage] = &[
    Stage {
        name: "format",
        checks: "every Rust file is formatted as rustfmt would",
        needs_root: false,
        packages: &[],
        begin: None,
        run: format,
    },
    Stage {
        name: "architecture",
        checks: "crates depend on each other and on others only as ARCHITECTURE.md says",
        needs_root: false,
        packages: &[],
        begin: None,
        run: |session| architecture::check(session.workspace),
    },
    Stage {
        name: "plugins",
        checks: "every framework plugin builds as a component",
        needs_root: false,
        packages: &[],
        begin: None,
        run: plugins,
    },
    Stage {
        name: "unit",
        checks: "the tests of every crate, and the examples in the documentation",
        needs_root: false,
        // The back end in etcd is tested against a real one, file servers with a real NFS server and
        // a client of others.
        packages: &[
            "e2fsprogs",
            "etcd-client",
            "etcd-server",
            "iproute2",
            "libnfs-utils",
            "nfs-ganesha",
            "nfs-ganesha-vfs",
            "rpcbind",
            "util-linux",
        ],
        begin: None,
        run: unit,
    },
    Stage {
        name: "simulation",
        checks: "the simulator of the leader, which `unit` runs, finds faults that are planted",
        needs_root: false,
        packages: &["libprotobuf-dev", "protobuf-compiler"],
        begin: None,
        run: planted::run,
    },
    Stage {
        name: "end-to-end",
        checks: "a real daemon, driven over HTTP and by the command line",
        needs_root: false,
        packages: &[],
        begin: None,
        run: end_to_end,
    },
    Stage {
        name: "sdk",
        checks: "the unmodified Batch AI clients for Python and JavaScript",
        needs_root: false,
        packages: &[
            "nfs-ganesha",
            "nfs-ganesha-vfs",
            "python3-sklearn",
            "python3-torch",
            "python3-venv",
            "rpcbind",
        ],
        begin: None,
        run: sdk,
    },
    Stage {
        name: "authors",
        checks: "each command of docs/writing-a-plugin.md, and plugins in Python, JavaScript and Rust that run jobs",
        needs_root: false,
        packages: &["python3-venv"],
        begin: None,
        run: authors,
    },
    Stage {
        name: "contract",
        checks: "schemathesis finds no answer that /v1/openapi.json does not describe",
        needs_root: false,
        packages: &["python3-venv"],
        begin: None,
        run: contract,
    },
    Stage {
        name: "faults",
        checks: "kill -9 of the daemon at any point loses no job and runs none twice",
        needs_root: false,
        packages: &[],
        begin: None,
        run: |session| integration(session, "faults", &["faults::"], |_| {}),
    },
    Stage {
        name: "isolation",
        checks: "limits, users and private folders keep jobs apart",
        needs_root: true,
        packages: &[],
        begin: None,
        run: |session| integration(session, "isolation", &["isolation::"], |_| {}),
    },
    Stage {
        name: "containers",
        checks: "jobs in containers: images, registries, root that is nobody outside",
        needs_root: true,
        packages: &[
            "busybox-static",
            "docker-registry",
            "skopeo",
            "umoci",
            "util-linux",
        ],
        begin: None,
        run: |session| integration(session, "containers", &["containers::"], |_| {}),
    },
    Stage {
        name: "gpus",
        checks: "simulated GPUs: inventory, packing, devices, every fault, the account",
        needs_root: true,
        packages: &["util-linux"],
        begin: None,
        run: gpus,
    },
    Stage {
        name: "hosts",
        checks: "hosts in network namespaces on three etcd members: gangs, losses, restarts, file servers, a soak",
        needs_root: true,
        packages: &[
            "e2fsprogs",
            "etcd-client",
            "etcd-server",
            "iproute2",
            "libc6-dev",
            "libmpich-dev",
            "libnfs-utils",
            "libopenmpi-dev",
            "mpich",
            "nfs-ganesha",
            "nfs-ganesha-vfs",
            "openmpi-bin",
            "python3-torch",
            "rpcbind",
            "util-linux",
        ],
        begin: None,
        run: hosts,
    },
    Stage {
        name: "frameworks",
        checks: "every framework really trains over two hosts, as its recipe says, and so do the original recipes",
        needs_root: true,
        packages: &[
            "busybox-static",
            "cmake",
            "etcd-client",
            "etcd-server",
            "g++",
            "iproute2",
            "libgomp1",
            "libmpich-dev",
            "libopenmpi-dev",
            "libtorch-dev",
            "make",
            "mpich",
            "nfs-ganesha",
            "nfs-ganesha-vfs",
            "openmpi-bin",
            "patchelf",
            "pybind11-dev",
            "python3-dev",
            "python3-lmdb",
            "python3-mpi4py",
            "python3-sklearn",
            "python3-torch",
            "python3-venv",
            "rpcbind",
            "skopeo",
            "umoci",
            "util-linux",
            "xz-utils",
        ],
        begin: Some(begin_frameworks),
        run: frameworks,
    },
    Stage {
        name: "machines",
        checks: "virtual machines boot the real node image, join by themselves and run jobs, restarts included",
        needs_root: true,
        packages: &[
            "dnsmasq-base",
            "iproute2",
            "ipxe-qemu",
            "libopenmpi-dev",
            "mtools",
            "nmap",
            "openssl",
            "ovmf",
            "qemu-system-x86",
            "samba",
            "squashfs-tools",
        ],
        begin: None,
        run: machines,
    },
    Stage {
        name: "load",
        checks: "thirty submitters at once, and slow, idle, huge and restless clients",
        needs_root: false,
        packages: &[],
        begin: None,
        run: |session| integration(session, "load", &["load::", "hostile_clients::"], |_| {}),
    },
    Stage {
        name: "fuzz",
        checks: "no input makes a fuzz target fail, in some seconds for each",
        needs_root: false,
        packages: &["g++"],
        begin: None,
        run: fuzz::run,
    },
    Stage {
        name: "demo",
        checks: "`cargo xtask demo` trains to a good accuracy",
        needs_root: false,
        packages: demo::PACKAGES,
        begin: None,
        run: demo,
    },
    Stage {
        name: "lint",
        checks: "no warning of the compiler or of clippy, plugins included",
        needs_root: false,
        packages: &[],
        begin: None,
        run: lint,
    },
    Stage {
        name: "supply",
        checks: "licences, sources and known faults of the dependencies",
        needs_root: false,
        packages: &[],
        begin: None,
        run: supply::check,
    },
];

fn format(session: &mut Session) -> Result<Tally, Error> {
    command::run(&mut session.workspace.cargo(&["fmt", "--all", "--check"]))?;
    command::run(fuzz::cargo(session.workspace, "fmt").arg("--check"))?;
    Ok(Tally::passed())
}

fn plugins(session: &mut Session) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    for component in artifacts::plugins(session.workspace)? {
        println!("   {}", component.display());
        tally.passed += 1;
    }
    Ok(tally)
}

fn lint(session: &mut Session) -> Result<Tally, Error> {
    // The binary embeds the components, so they must be there.
    artifacts::plugins(session.workspace)?;
    let mut native = session.workspace.cargo(&["clippy", "--release"]);
    native.args(["--workspace", "--all-targets"]);
    let mut components = session.workspace.cargo(&["clippy", "--release", "--lib"]);
    components.args(["--target", install::PLUGIN_TARGET]);
    for package in session.workspace.packages_below("plugins") {
        components.args(["--package", package]);
    }
    let mut targets = fuzz::cargo(session.workspace, "clippy");
    targets.args(["--locked", "--release"]);
    let mut tally = Tally::default();
    for mut clippy in [native, components, targets] {
        command::run(clippy.args(["--", "--deny", "warnings"]))?;
        tally.passed += 1;
    }
    Ok(tally)
}

/// The crate of the tests that need the whole program.
const INTEGRATION_PACKAGE: &str = "tests";

/// The crate of the tests that need many hosts.
const HOSTS_PACKAGE: &str = "tests/hosts";

/// The crate of the tests that boot the node image.
const MACHINES_PACKAGE: &str = "tests/machines";

/// What the test program of these crates is called.
const INTEGRATION: &str = "it";

fn unit(session: &mut Session) -> Result<Tally, Error> {
    let artifacts = session.artifacts()?;
    let own_stages = [INTEGRATION_PACKAGE, HOSTS_PACKAGE, MACHINES_PACKAGE]
        .map(|it| session.workspace.root.join(it));
    let mut total = Tally::default();
    for (number, program) in artifacts.tests.iter().enumerate() {
        let is_own_stage = own_stages.contains(&program.package) && program.target == INTEGRATION;
        if !is_own_stage {
            let log_name = format!("unit-{number:02}-{}", program.target);
            let tally = session.run_tests(program, &log_name, |command| {
                command.env("LOTE_BINARY", &artifacts.lote);
            })?;
            total.add(tally);
        }
    }
    total.add(documentation_examples(session)?);
    Ok(total)
}

fn documentation_examples(session: &Session) -> Result<Tally, Error> {
    let mut test = session
        .workspace
        .cargo(&["test", "--release", "--workspace", "--doc"]);
    session.run_counted(&mut test, "examples in the documentation", "unit-doc")
}

/// Modules of the integration tests that are stages of their own.
const OWN_STAGES: [&str; 9] = [
    "authors::",
    "sdk::",
    "contract::",
    "faults::",
    "containers::",
    "gpus::",
    "isolation::",
    "load::",
    "hostile_clients::",
];

/// How many labs are up at once. Most of their time is waiting: for leases to end, for hosts that
/// are away for a minute.
const LABS_AT_ONCE: &str = "--test-threads=3";

fn hosts(session: &mut Session) -> Result<Tally, Error> {
    let arguments = [LABS_AT_ONCE, "--skip", FRAMEWORKS];
    integration_of(session, HOSTS_PACKAGE, "hosts", &arguments, |_| {})
}

/// The module of the tests of frameworks, which need more than other hosts do.
const FRAMEWORKS: &str = "frameworks::";

/// How many trainings there are at once: each takes the processors that two hosts have, and half
/// of its time is waiting for the hosts to begin and to end.
const TRAININGS_AT_ONCE: &str = "--test-threads=2";

fn frameworks(session: &mut Session) -> Result<Tally, Error> {
    let mut tally = match session.installation.take() {
        Some(running) => running.wait()?,
        None => frameworks::install(session.workspace, &session.logs)?,
    };
    let environment = install::client_environment(session.workspace)?;
    let arguments = [FRAMEWORKS, TRAININGS_AT_ONCE];
    tally.add(integration_of(
        session,
        HOSTS_PACKAGE,
        "frameworks",
        &arguments,
        |command| {
            command.env("LOTE_VENV", environment);
        },
    )?);
    Ok(tally)
}

/// Begins what `frameworks` will need: much of it is waiting for packages and some is compiling,
/// for which the waiting of the stages before leaves time.
fn begin_frameworks(session: &mut Session) {
    session.installation = Some(Installation::begin(session.workspace, &session.logs));
}

/// Builds the image if what goes into it has changed, and runs the machines; each of their steps
/// is shown with its time.
fn machines(session: &mut Session) -> Result<Tally, Error> {
    let lote = session.artifacts()?.lote.clone();
    let image = node_image::current(session.workspace, Flavor::Cpu, &lote)?;
    let name = "machines";
    let tally = integration_of(session, MACHINES_PACKAGE, name, &[], |command| {
        command.env("LOTE_NODE_IMAGE", image);
    })?;
    let log = command::read_lossy(&session.logs.join(format!("{name}.log")))?;
    for step in log.lines().filter(|line| line.starts_with('[')) {
        println!("   {step}");
    }
    Ok(tally)
}

/// How many machines with GPUs are up at once: their tests wait for the rounds in which a daemon
/// looks at its GPUs.
const GPU_MACHINES_AT_ONCE: &str = "--test-threads=4";

fn gpus(session: &mut Session) -> Result<Tally, Error> {
    let library = nvidia::library(session.workspace);
    if let Err(error) = &library {
        println!("   {}", error::chain(error));
    }
    let arguments = ["gpus::", GPU_MACHINES_AT_ONCE];
    integration(session, "gpus", &arguments, |command| {
        // Without it, one test says that it cannot run.
        command.envs(library.ok().map(|path| ("LOTE_NVIDIA_ML", path)));
    })
}

/// Everything that is no stage of its own, so that no test escapes.
fn end_to_end(session: &mut Session) -> Result<Tally, Error> {
    let filter = OWN_STAGES.map(|module| ["--skip", module]).concat();
    integration(session, "end-to-end", &filter, |_| {})
}

fn sdk(session: &mut Session) -> Result<Tally, Error> {
    let environment = install::client_environment(session.workspace)?;
    let modules = install::javascript_client(session.workspace)?;
    integration(session, "sdk", &["sdk::"], |command| {
        command
            .env("LOTE_VENV", environment)
            .env("LOTE_NODE_MODULES", modules);
    })
}

/// What each language's tool fetches, it keeps in its own cache; what Cargo builds of the
/// guide's project stays below the target folder.
fn authors(session: &mut Session) -> Result<Tally, Error> {
    install::plugin_target()?;
    install::node_tools()?;
    let target = session.workspace.target.join("xtask/authors");
    integration(session, "authors", &["authors::"], |command| {
        command.env("LOTE_AUTHORS_TARGET", target);
    })
}

fn contract(session: &mut Session) -> Result<Tally, Error> {
    let program = install::schemathesis(session.workspace)?;
    integration(session, "contract", &["contract::"], |command| {
        command.env("LOTE_SCHEMATHESIS", program);
    })
}

/// Runs some of the integration tests, all of which are one program.
fn integration(
    session: &mut Session,
    log_name: &str,
    filter: &[&str],
    configure: impl FnOnce(&mut Command),
) -> Result<Tally, Error> {
    integration_of(session, INTEGRATION_PACKAGE, log_name, filter, configure)
}

/// Runs the test program of a crate that needs the whole program.
fn integration_of(
    session: &mut Session,
    package: &str,
    log_name: &str,
    arguments: &[&str],
    configure: impl FnOnce(&mut Command),
) -> Result<Tally, Error> {
    let artifacts = session.artifacts()?;
    let folder = session.workspace.root.join(package);
    let program = artifacts
        .tests
        .iter()
        .find(|program| program.package == folder && program.target == INTEGRATION)
        .ok_or_else(|| {
            Error::Other(format!(
                "there is no test program `{INTEGRATION}` in {package}/"
            ))
        })?;
    session.run_tests(program, log_name, |command| {
        command.args(arguments).env("LOTE_BINARY", &artifacts.lote);
        configure(command);
    })
}

fn demo(session: &mut Session) -> Result<Tally, Error> {
    let artifacts = session.artifacts()?;
    let options = demo::Options {
        keep: false,
        binary: Some(artifacts.lote.clone()),
    };
    demo::run(session.workspace, &options)?;
    Ok(Tally::passed())
}
