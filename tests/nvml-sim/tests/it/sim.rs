//! A copy of the library with a machine of its own: a library that is loaded twice from one file
//! is one library.

use std::fs;
use std::path::PathBuf;

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use tempfile::TempDir;

/// What Cargo calls the library.
const BUILT: &str = "liblote_nvml_sim.so";

pub(crate) struct Sim {
    folder: TempDir,
}

impl Sim {
    pub(crate) fn new(text: &str) -> Self {
        let sim = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        fs::copy(built(), sim.library()).expect("a copy of the library");
        sim.write(text);
        sim
    }

    /// Changes the machine, in one step, so that no half of a file is read.
    pub(crate) fn write(&self, text: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, text).expect("a file");
        fs::rename(&new, self.file()).expect("the file in its place");
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("libnvidia-ml.so.1.toml")
    }

    pub(crate) fn nvml(&self) -> Nvml {
        self.try_nvml().expect("the library comes up")
    }

    pub(crate) fn try_nvml(&self) -> Result<Nvml, NvmlError> {
        let library = self.library();
        Nvml::builder().lib_path(library.as_os_str()).init()
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("libnvidia-ml.so.1")
    }
}

/// The library that Cargo built for these tests: beside them, or above.
fn built() -> PathBuf {
    let own = std::env::current_exe().expect("a program knows its own path");
    let candidates = own.ancestors().skip(1).take(2);
    let mut candidates = candidates.map(|folder| folder.join(BUILT));
    let found = candidates.find(|path| path.is_file());
    found.expect("the library is built with its tests")
}

/// Eight H100 on two sockets.
pub(crate) const TWO_SOCKETS: &str = "
    layout = { numa_nodes = 2, gpus_per_switch = 2, nvlink = [[0, 1, 2, 3], [4, 5, 6, 7]] }
    [[gpu]]
    model = \"H100\"
    count = 8
";
