//! The recipes, submitted as they are.

use std::time::Instant;

use super::site::{Site, is_installed, shown};
use crate::load::assert_nothing_left;

/// A recipe and what is expected of it.
struct Recipe {
    /// Its folder.
    folder: &'static str,
    /// Its job file.
    file: &'static str,
    /// What must be installed, if it is more than Debian's packages.
    needs: Option<&'static str>,
    /// The files that its processes write to, but those of the preparation.
    files: &'static [&'static str],
    /// How it says what it has reached.
    accuracy: fn(&str) -> Option<f64>,
    /// What it must reach at least.
    least: f64,
    /// The hosts on which its processes are.
    hosts: &'static [&'static str],
}

const BOTH: &[&str] = &["h1", "h2"];

const ONE_OUTPUT: &[&str] = &["stderr.txt", "stdout.txt"];

const ONE_OUTPUT_EACH: &[&str] = &[
    "stderr-0.txt",
    "stderr-1.txt",
    "stdout-0.txt",
    "stdout-1.txt",
];

/// A recipe over both hosts, of which one process prints `accuracy 0.97 …`.
const COMMON: Recipe = Recipe {
    folder: "",
    file: "job.json",
    needs: None,
    files: ONE_OUTPUT,
    accuracy: last_accuracy,
    least: 0.95,
    hosts: BOTH,
};

impl Recipe {
    fn check(&self) {
        if self.needs.is_some_and(|needs| !is_installed(needs)) {
            return;
        }
        let site = Site::start();
        let job = site.submit_recipe(self.folder, self.file);
        let submitted = Instant::now();
        let ended = site.wait_for_end(&job);
        let took = submitted.elapsed();
        let output = site.output(&job);
        let said = shown(&output);
        assert_eq!(ended["executionState"], "succeeded", "{ended:#}\n{said}");
        assert_eq!(ended["executionInfo"]["exitCode"], 0, "{ended:#}");
        let names: Vec<&str> = output
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| !name.contains("job_prep") && !name.starts_with("execution"))
            .collect();
        assert_eq!(names, self.files, "{said}");
        let accuracy = (self.accuracy)(&said);
        assert!(
            accuracy.is_some_and(|reached| reached >= self.least),
            "{said}"
        );
        for host in ["h1", "h2"] {
            let is_used = said.contains(&format!(" on {host}"));
            assert_eq!(is_used, self.hosts.contains(&host), "{host}\n{said}");
        }
        assert_same_networks(&said);
        assert_nothing_left(&site.lab.daemons);
        let (folder, file) = (self.folder, self.file);
        println!("{folder}/{file}: accuracy {accuracy:?} after {took:.1?}");
    }
}

/// Processes that say of which weights their network is, because they have no way to compare, must
/// say the same.
fn assert_same_networks(said: &str) {
    let weights: Vec<&str> = said
        .lines()
        .filter_map(|line| Some(line.split_once(" has a network with weights of ")?.1))
        .collect();
    assert!(weights.windows(2).all(|pair| pair[0] == pair[1]), "{said}");
}

/// From `accuracy 0.97 with 2 ranks`.
fn last_accuracy(said: &str) -> Option<f64> {
    let mut lines = said.lines().rev();
    let words = lines.find_map(|line| line.strip_prefix("accuracy "))?;
    words.split(' ').next()?.parse().ok()
}

/// From the last `Test net output #0: accuracy = 0.96` of Caffe's log.
fn caffe_accuracy(said: &str) -> Option<f64> {
    let mut lines = said.lines().rev();
    let value = lines.find_map(|line| line.split_once(": accuracy = "))?.1;
    value.parse().ok()
}

/// From `Final Results: Minibatch[1-1]: errs = 3.786% * 449; ce = …` of CNTK's log.
fn cntk_accuracy(said: &str) -> Option<f64> {
    let mut lines = said.lines();
    let results = lines.find_map(|line| line.split_once("Final Results: "))?.1;
    let errors: f64 = results
        .split_once("errs = ")?
        .1
        .split_once('%')?
        .0
        .parse()
        .ok()?;
    Some(1.0 - errors / 100.0)
}

macro_rules! recipes {
    ($($test:ident: $folder:literal { $($member:ident: $value:expr),* $(,)? })*) => {$(
        #[test]
        fn $test() {
            Recipe { folder: $folder, $($member: $value,)* ..COMMON }.check();
        }
    )*};
}

recipes! {
    pytorch_with_gloo: "pytorch" { files: ONE_OUTPUT_EACH }
    pytorch_with_mpi: "pytorch" { file: "job-mpi.json", needs: Some("pytorch-mpi") }
    horovod: "horovod" { needs: Some("horovod") }
    tensorflow_1_with_a_parameter_server: "tensorflow-1" {
        needs: Some("tensorflow-1"),
        files: &["stderr-ps-0.txt", "stderr-wk-0.txt", "stderr-wk-1.txt",
            "stdout-ps-0.txt", "stdout-wk-0.txt", "stdout-wk-1.txt"],
    }
    tensorflow_of_today_with_mirrored_workers: "tensorflow" {
        needs: Some("tensorflow"),
        files: &["stderr-wk-0.txt", "stderr-wk-1.txt", "stdout-wk-0.txt", "stdout-wk-1.txt"],
    }
    chainer_with_chainermn: "chainer" { needs: Some("chainer") }
    cntk_from_python: "cntk" { needs: Some("cntk") }
    cntk_with_brainscript: "cntk-brainscript" { accuracy: cntk_accuracy }
    caffe: "caffe" { accuracy: caffe_accuracy, least: 0.94, hosts: &[] }
    caffe2_through_files: "caffe2" { needs: Some("caffe2"), files: ONE_OUTPUT_EACH }
    custom_mpi_in_c_with_open_mpi: "custom-mpi" {}
    custom_mpi_in_c_with_mpich: "custom-mpi" { file: "job-mpich.json", needs: Some("mpich") }
    custom_mpi_in_python_with_open_mpi: "custom-mpi" { file: "job-mpi4py.json" }
    custom_mpi_in_python_with_mpich: "custom-mpi" {
        file: "job-mpi4py-mpich.json", needs: Some("mpich"),
    }
    custom: "custom" { least: 0.97, hosts: &["h1"] }
}
