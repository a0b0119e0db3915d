//! Four published recipes of the original service: their job files as they are, with scripts of
//! ours in the places of the original ones, which check their arguments and train.
//!
//! What stands for their shares, containers and images is in the operator's tables.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use lote_test_hosts::LabOptions;
use tempfile::TempDir;

use super::site::{Site, checkout, is_installed};
use crate::load::assert_nothing_left;
use crate::storage::succeeds;

/// The storage account for which the job files have a placeholder.
const ACCOUNT: &str = "recipes";

/// The workspace that the Python client's scripts make, and the cluster in it.
const PLACE: [&str; 4] = ["--group", "lab", "--workspace", "vision"];

/// A published recipe.
struct Original {
    /// Its job file.
    file: &'static str,
    /// What must be installed.
    needs: &'static str,
    /// Its image.
    image: &'static str,
    /// The files that its processes write to.
    files: &'static [&'static str],
    /// What its processes say, on either host.
    words: &'static [&'static str],
    /// The end of the path of a file that it leaves on a share.
    leaves: Option<&'static str>,
}

/// The operator's tables, and the directories of the shares.
struct Tables {
    folder: TempDir,
}

impl Tables {
    fn new(original: &Original) -> Self {
        // Not below /tmp or /var/tmp, of which jobs have their own.
        let folder = tempfile::Builder::new()
            .prefix("lote-originals-")
            .tempdir_in("/srv")
            .expect("a folder");
        let tables = Self { folder };
        let root = tables.folder.path();
        fs::set_permissions(root, Permissions::from_mode(0o711)).expect("its mode");
        let copied = Command::new("cp")
            .args(["--recursive", "--no-preserve=mode,ownership"])
            .arg(checkout().join("tests/frameworks/originals/scripts"))
            .arg(root)
            .output();
        succeeds(&copied.expect("cp"));
        let shares = format!(
            "'{ACCOUNT}/scripts' = {{ directory = '{0}/scripts' }}\n\
             '{ACCOUNT}/*' = {{ directory = '{0}/{{share}}', create = true, owner = 'job' }}\n",
            root.display()
        );
        tables.write("shares.toml", &shares);
        let images = format!(
            "[[image]]\nname = '{}'\nhost = true\npath = '/opt/lote-frameworks/{}/bin'\n",
            original.image, original.needs
        );
        tables.write("images.toml", &images);
        tables
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A table as daemons insist on it: for root only.
    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, text).expect("a table");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("its mode");
    }

    fn options(&self) -> LabOptions {
        let (shares, images) = (self.path("shares.toml"), self.path("images.toml"));
        let text = |path: &Path| path.display().to_string();
        LabOptions::hosts(2).with(&[
            "--storage-table",
            &text(&shares),
            "--image-table",
            &text(&images),
        ])
    }
}

impl Original {
    /// By the Python client first, then by `lote`.
    fn check(&self) {
        if !is_installed(self.needs) {
            return;
        }
        let Ok(environment) = std::env::var("LOTE_VENV") else {
            println!("skipped: LOTE_VENV names no virtual environment with the Python client");
            return;
        };
        let tables = Tables::new(self);
        let site = Site::start_with(tables.options());
        self.assert_trained(&self.by_the_python_client(&site, &environment));
        self.assert_trained(&self.by_lote(&site));
        assert_nothing_left(&site.lab.daemons);
        if let Some(end) = self.leaves {
            let left = Command::new("find")
                .arg(tables.folder.path())
                .args(["-path", &format!("*{end}")])
                .output();
            let left = succeeds(&left.expect("find"));
            assert_eq!(left.lines().count(), 2, "one for each job: {left}");
        }
    }

    fn job_file(&self) -> PathBuf {
        checkout()
            .join("tests/frameworks/originals/jobs")
            .join(self.file)
    }

    fn by_the_python_client(&self, site: &Site, environment: &str) -> String {
        let daemon = &site.lab.daemons[0];
        let output = Command::new(format!("{environment}/bin/python"))
            .arg(checkout().join("tests/sdk/python/original.py"))
            .arg(daemon.url())
            .arg(self.job_file())
            .arg(ACCOUNT)
            .env("LOTE_TOKEN", daemon.token())
            // The checkout stays as it is.
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output();
        succeeds(&output.expect("Python"))
    }

    fn by_lote(&self, site: &Site) -> String {
        let daemon = &site.lab.daemons[0];
        let file = self.job_file().display().to_string();
        let mut arguments = vec!["job", "create", "-f", &file, "again", "--cluster", "box"];
        arguments.extend(["--experiment", "digits"]);
        arguments.extend(PLACE);
        let mut create = daemon.lote_command(&arguments);
        create.env("AZURE_BATCHAI_STORAGE_ACCOUNT", ACCOUNT);
        create.env("AZURE_BATCHAI_STORAGE_KEY", "bm90IHVzZWQ=");
        succeeds(&create.output().expect("lote"));
        let job = "/v1/groups/lab/workspaces/vision/experiments/digits/jobs/again";
        let ended = site.wait_for_end(job);
        let state = ended["executionState"].as_str().unwrap_or_default();
        let code = &ended["executionInfo"]["exitCode"];
        let output = super::site::shown(&site.output(job));
        format!("state {state} exit code {code}\n{ended:#}\n{output}")
    }

    fn assert_trained(&self, said: &str) {
        assert!(said.contains("state succeeded exit code 0"), "{said}");
        assert!(said.contains("accuracy 0.9"), "{said}");
        for file in self.files {
            assert!(said.contains(&format!("--- {file}\n")), "{file}\n{said}");
        }
        for words in self.words {
            assert!(said.contains(words), "{words}\n{said}");
        }
    }
}

#[test]
fn chainer_gpu_distributed() {
    Original {
        file: "Chainer-GPU-Distributed.job.json",
        needs: "chainer",
        image: "batchaitraining/chainermn:openMPI",
        files: &["stdout.txt", "stderr.txt"],
        words: &["rank 0 of 2 on h", "rank 1 of 2 on h"],
        leaves: Some("/outputs/model.npz"),
    }
    .check();
}

#[test]
fn horovod_pytorch() {
    // Its model lies on no mount, and goes with the job's node.
    Original {
        file: "Horovod-PyTorch.job.json",
        needs: "horovod",
        image: "batchaitraining/pytorch:0.4.0-cp36-cuda9-cudnn7",
        files: &[
            "stdout.txt",
            "stderr.txt",
            "stdout-job_prep-h1.txt",
            "stdout-job_prep-h2.txt",
        ],
        words: &["rank 0 of 2 on h", "rank 1 of 2 on h", "horovod"],
        leaves: None,
    }
    .check();
}

#[test]
fn pytorch_gpu_distributed_gloo() {
    Original {
        file: "PyTorch-GPU-Distributed-Gloo.job.json",
        needs: "pytorch-mpi",
        image: "pytorch/pytorch:0.4_cuda9_cudnn7",
        files: &[
            "stdout-0.txt",
            "stdout-1.txt",
            "stderr-0.txt",
            "stderr-1.txt",
        ],
        words: &["rank 0 of 2 on h", "rank 1 of 2 on h", " by tcp://10."],
        leaves: None,
    }
    .check();
}

#[test]
fn tensorflow_gpu_distributed() {
    Original {
        file: "TensorFlow-GPU-Distributed.job.json",
        needs: "tensorflow-1",
        image: "tensorflow/tensorflow:1.8.0-gpu",
        files: &["stdout-wk-0.txt", "stdout-wk-1.txt", "stdout-ps-0.txt"],
        words: &["ps 0 on h", "worker 0 on h", "worker 1 on h"],
        leaves: Some("/outputs/Models/checkpoint"),
    }
    .check();
}
