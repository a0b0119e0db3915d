//! Packages, tools and virtual environments that a chore needs.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::command;
use crate::error::Error;
use crate::workspace::Workspace;

/// Debian's Python: the one that Debian's packages of PyTorch belong to.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// The target that framework plugins are built for.
pub(crate) const PLUGIN_TARGET: &str = "wasm32-unknown-unknown";

/// What the real Batch AI client needs, as `pip` reads it.
const CLIENT_REQUIREMENTS: &[&str] = &["azure-mgmt-batchai==2.0.0"];

/// What checks the interface against its description; pinned, because each
/// release looks for more.
const SCHEMATHESIS_REQUIREMENTS: &[&str] = &["schemathesis==4.32.5"];

/// The checker of licences, sources and advisories; pinned, so that a new
/// release cannot turn a passing checkout into a failing one.
const CARGO_DENY_VERSION: &str = "0.20.2";

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Installs those Debian packages that are missing.
pub(crate) fn debian_packages(packages: &[&str]) -> Result<(), Error> {
    let missing: Vec<&str> = packages
        .iter()
        .copied()
        .filter(|package| !is_installed(package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !is_root() {
        return Err(Error::Missing {
            what: format!("the Debian package(s) {list}"),
            advice: format!("run `apt-get install {list}` as root, or this command as root"),
        });
    }
    println!("installing Debian packages: {list}");
    // The package lists of a fresh machine may be absent or old.
    if apt_get("install", &missing).is_ok() {
        return Ok(());
    }
    apt_get("update", &[])?;
    apt_get("install", &missing)
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    command::capture(&mut query).is_ok_and(|status| status == "installed")
}

fn apt_get(verb: &str, packages: &[&str]) -> Result<(), Error> {
    let mut apt = Command::new("apt-get");
    apt.args(["--quiet", "--yes", verb, "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    command::run(&mut apt)
}

/// Adds the plugins' compilation target to the toolchain.
pub(crate) fn plugin_target() -> Result<(), Error> {
    let mut query = Command::new("rustc");
    query.args(["--print", "target-libdir", "--target", PLUGIN_TARGET]);
    let folder = PathBuf::from(command::capture(&mut query)?.trim());
    if folder.is_dir() {
        return Ok(());
    }
    println!("adding the Rust target {PLUGIN_TARGET}");
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", PLUGIN_TARGET]);
    command::run(&mut rustup).map_err(|error| {
        Error::Other(format!(
            "the Rust target {PLUGIN_TARGET} is missing and cannot be added ({error}); \
             run `rustup target add {PLUGIN_TARGET}`, or install that target of your toolchain"
        ))
    })
}

/// A virtual environment with the real Batch AI client; answers its folder.
pub(crate) fn client_environment(workspace: &Workspace) -> Result<PathBuf, Error> {
    virtual_environment(workspace, "batchai-client", CLIENT_REQUIREMENTS)
}

/// `schemathesis` in an environment of its own; answers the program.
pub(crate) fn schemathesis(workspace: &Workspace) -> Result<PathBuf, Error> {
    let folder = virtual_environment(workspace, "schemathesis", SCHEMATHESIS_REQUIREMENTS)?;
    Ok(folder.join("bin/schemathesis"))
}

/// A virtual environment of Python with these packages; answers its folder.
fn virtual_environment(
    workspace: &Workspace,
    name: &str,
    requirements: &[&str],
) -> Result<PathBuf, Error> {
    let folder = workspace.target.join("xtask").join(name);
    let marker = folder.join("installed");
    let wanted = requirements.join("\n");
    if std::fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    println!(
        "installing {} into {}",
        requirements.join(", "),
        folder.display()
    );
    let mut create = Command::new(PYTHON);
    create.args(["-m", "venv", "--clear"]).arg(&folder);
    command::run(&mut create)?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ])
    .args(requirements);
    command::run(&mut pip)?;
    std::fs::write(&marker, wanted).map_err(Error::file("write", &marker))?;
    Ok(folder)
}

/// The real Batch AI client for JavaScript, as its lock file says; answers the
/// folder of its modules.
pub(crate) fn javascript_client(workspace: &Workspace) -> Result<PathBuf, Error> {
    let sources = workspace.root.join("tests/sdk/javascript");
    let folder = workspace.target.join("xtask/batchai-javascript");
    let marker = folder.join("installed");
    let lock = sources.join("package-lock.json");
    let wanted = std::fs::read_to_string(&lock).map_err(Error::file("read", &lock))?;
    if std::fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) {
        return Ok(folder.join("node_modules"));
    }
    node_tools()?;
    println!("installing @azure/arm-batchai into {}", folder.display());
    std::fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
    for name in ["package.json", "package-lock.json"] {
        let copy = folder.join(name);
        std::fs::copy(sources.join(name), &copy).map_err(Error::file("write", &copy))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
        .current_dir(&folder);
    command::run(&mut npm)?;
    std::fs::write(&marker, wanted).map_err(Error::file("write", &marker))?;
    Ok(folder.join("node_modules"))
}

/// Node.js with npm: what the machine has, or else Debian's.
pub(crate) fn node_tools() -> Result<(), Error> {
    if command::capture(Command::new("npm").arg("--version")).is_err() {
        debian_packages(&["nodejs", "npm"])?;
    }
    Ok(())
}

/// `cargo-deny`, built into a folder of its own; answers the program.
pub(crate) fn cargo_deny(workspace: &Workspace) -> Result<PathBuf, Error> {
    let tools = workspace.target.join("xtask/tools");
    let program = tools.join("bin/cargo-deny");
    let wanted = format!("cargo-deny {CARGO_DENY_VERSION}");
    let found = command::capture(Command::new(&program).arg("--version"));
    if found.is_ok_and(|version| version.trim() == wanted) {
        return Ok(program);
    }
    println!("building {wanted}");
    let build = tools.join("build");
    // Unoptimised: it runs for a second, and building is what takes time.
    let mut install = workspace.cargo(&["install", "cargo-deny", "--locked", "--debug", "--force"]);
    install
        .args(["--version", CARGO_DENY_VERSION, "--root"])
        .arg(&tools)
        .arg("--target-dir")
        .arg(&build);
    command::run(&mut install)?;
    std::fs::remove_dir_all(&build).map_err(Error::file("remove", &build))?;
    Ok(program)
}
