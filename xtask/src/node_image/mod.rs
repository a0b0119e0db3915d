//! Builds node images from what `node-image/` declares.
//!
//! * [`recipe`] — what is in an image: packages, files, the kernel's options.
//! * [`root`] — the root file system: Debian, our files, the daemon.
//! * [`driver`] — the check of the driver of GPUs.
//! * [`disk`] — the image for disks and USB sticks, and the one for optical media.
//! * [`network`] — the files of a network boot.
//! * [`manifest`] — what went in and what came out.
//! * [`inputs`] — whether an image is of what there is now.
//!
//! Everything is stamped with the time of the last commit, so that two builds of the same packages
//! give the same bytes.

mod disk;
mod driver;
mod inputs;
mod manifest;
mod network;
mod recipe;
mod root;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::artifacts;
use crate::command;
use crate::error::Error;
use crate::install;
use crate::workspace::Workspace;

pub(crate) use recipe::Flavor;

/// What builds images.
const PACKAGES: &[&str] = &[
    "ca-certificates",
    "dosfstools",
    "gdisk",
    "kmod",
    "mmdebstrap",
    "mtools",
    "squashfs-tools",
    "xorriso",
    "zstd",
];

/// What to build.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) flavor: Flavor,
    /// Where the files go; `node-image/FLAVOR` in Cargo's target folder unless told otherwise.
    pub(crate) output: Option<PathBuf>,
    /// This `lote` program instead of a new one.
    pub(crate) binary: Option<PathBuf>,
    /// A directory with what the site adds.
    pub(crate) site: Option<PathBuf>,
}

/// An image on its way.
#[derive(Debug)]
struct Build {
    /// `node-image/` of the checkout.
    source: PathBuf,
    /// What the site adds, in the same form.
    site: Option<PathBuf>,
    /// Where the results go.
    output: PathBuf,
    /// Where everything else goes; removed at the end.
    scratch: PathBuf,
    /// Seconds since 1970 that all files are stamped with at most.
    epoch: String,
    flavor: Flavor,
}

/// Builds all forms of an image, and answers where they are.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<PathBuf, Error> {
    if !install::is_root() {
        return Err(Error::Other(
            "an image of a machine holds files of many owners: run this as root".into(),
        ));
    }
    install::debian_packages(PACKAGES)?;
    let started = Instant::now();
    let lote = match &options.binary {
        Some(binary) => binary.clone(),
        None => artifacts::programs(workspace)?,
    };
    let build = Build::new(workspace, options)?;
    let recipe = recipe::read(&build.source, options.flavor, build.site.as_deref())?;
    step(started, "Debian and the daemon");
    let root = root::build(&build, &recipe, &lote)?;
    step(started, "the image for disks and USB sticks");
    disk::raw(&build, &recipe, &root)?;
    step(started, "the image for optical media");
    disk::iso(&build)?;
    step(started, "the files of a network boot");
    network::build(&build, &recipe, &root)?;
    step(started, "the manifest");
    manifest::write(&build, &root)?;
    remove(&build.scratch)?;
    step(started, "done");
    Ok(build.output)
}

/// The image with this program, built only if something that goes into it has changed. Where it is.
pub(crate) fn current(
    workspace: &Workspace,
    flavor: Flavor,
    lote: &Path,
) -> Result<PathBuf, Error> {
    let output = workspace.target.join("node-image").join(flavor.name());
    let wanted = inputs::digest(workspace, lote)?;
    if inputs::are(&output, &wanted) {
        println!("   {} is of what there is now", output.display());
        return Ok(output);
    }
    inputs::forget(&output)?;
    let options = Options {
        flavor,
        output: None,
        binary: Some(lote.to_owned()),
        site: None,
    };
    run(workspace, &options)?;
    inputs::remember(&output, &wanted)?;
    Ok(output)
}

fn step(started: Instant, what: &str) {
    println!("[{:4} s] {what}", started.elapsed().as_secs());
}

impl Build {
    fn new(workspace: &Workspace, options: &Options) -> Result<Self, Error> {
        let base = workspace.target.join("node-image");
        let name = options.flavor.name();
        let site = options.site.as_ref().map(|site| {
            fs::canonicalize(site)
                .ok()
                .filter(|site| site.is_dir())
                .ok_or_else(|| Error::Other(format!("{} is no directory", site.display())))
        });
        let build = Self {
            source: workspace.root.join("node-image"),
            site: site.transpose()?,
            output: options.output.clone().unwrap_or_else(|| base.join(name)),
            scratch: base.join(format!("{name}.scratch")),
            epoch: commit_time(workspace)?,
            flavor: options.flavor,
        };
        // What an interrupted build left.
        remove(&build.scratch)?;
        for directory in [&build.scratch, &build.output] {
            fs::create_dir_all(directory).map_err(Error::file("write", directory))?;
        }
        Ok(build)
    }

    fn output(&self, name: &str) -> PathBuf {
        self.output.join(name)
    }

    fn scratch(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// A program whose results are to be the same every time.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command
            .env("SOURCE_DATE_EPOCH", &self.epoch)
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8");
        command
    }
}

/// When the checkout's last commit was made.
fn commit_time(workspace: &Workspace) -> Result<String, Error> {
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"])
        .current_dir(&workspace.root);
    Ok(command::capture(&mut git)?.trim().to_owned())
}

fn remove(directory: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("write", directory)(error))
        }
        _ => Ok(()),
    }
}
