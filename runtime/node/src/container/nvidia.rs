//! The part of NVIDIA's driver that programs load: it must be that of the node's kernel module, so
//! no image has it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::SYSTEM_PATH;

/// Where a container has it: a place that no image uses.
const PLACE: &str = "/usr/local/lote/nvidia";

/// The libraries of the driver; CUDA's own come with the image.
const LIBRARIES: [&str; 5] = [
    "libcuda.so",
    "libcudadebugger.so",
    "libnvcuvid.so",
    "libnvidia-",
    "libnvoptix.so",
];

/// A program of the driver.
const PROGRAM: &str = "nvidia-smi";

/// What of the node is shown to a container that has GPUs, and where; blocks.
pub(super) fn shown() -> Vec<(PathBuf, PathBuf)> {
    let listed = Command::new("ldconfig")
        .arg("-p")
        .env_clear()
        .env("PATH", SYSTEM_PATH)
        .output();
    let listed = listed.map(|output| output.stdout).unwrap_or_default();
    let mut shown = libraries(&String::from_utf8_lossy(&listed));
    let programs = SYSTEM_PATH.split(':').map(|it| Path::new(it).join(PROGRAM));
    let program = programs.into_iter().find(|path| path.is_file());
    shown.extend(program.map(|path| (path, Path::new(PLACE).join("bin").join(PROGRAM))));
    shown
}

/// From what `ldconfig -p` prints: the first of each name is the one that is loaded.
fn libraries(listed: &str) -> Vec<(PathBuf, PathBuf)> {
    let mut found: Vec<(PathBuf, PathBuf)> = Vec::new();
    for line in listed.lines() {
        let Some((left, path)) = line.split_once(" => ") else {
            continue;
        };
        let Some((name, kind)) = left.trim().split_once(' ') else {
            continue;
        };
        let is_of_driver = LIBRARIES.iter().any(|start| name.starts_with(start));
        let is_wide = kind.contains("64");
        let target = Path::new(PLACE).join("lib").join(name);
        if is_of_driver && is_wide && !found.iter().any(|(_, known)| *known == target) {
            found.push((path.into(), target));
        }
    }
    found
}

/// Appends to variables what a program needs to find it; `(name, directory)`.
pub(super) fn search_paths(shown: &[(PathBuf, PathBuf)]) -> Vec<(String, String)> {
    let has = |directory: &str| {
        let directory = Path::new(PLACE).join(directory);
        let is_there = shown
            .iter()
            .any(|(_, target)| target.starts_with(&directory));
        is_there.then(|| directory.to_string_lossy().into_owned())
    };
    let library = has("lib").map(|path| ("LD_LIBRARY_PATH".to_owned(), path));
    library
        .into_iter()
        .chain(has("bin").map(|path| ("PATH".to_owned(), path)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_of_the_driver_are_found_and_those_of_cuda_left() {
        let listed = "2 libs found in cache `/etc/ld.so.cache'\n\
            \tlibnvidia-ml.so.1 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1\n\
            \tlibcudart.so.12 (libc6,x86-64) => /usr/local/cuda/lib64/libcudart.so.12\n\
            \tlibcuda.so.1 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libcuda.so.1\n\
            \tlibcuda.so.1 (libc6,x86-64) => /opt/other/libcuda.so.1\n\
            \tlibcuda.so.1 (libc6) => /usr/lib/i386-linux-gnu/libcuda.so.1\n";
        let found = libraries(listed);
        let pair = |name: &str| {
            let from = Path::new("/usr/lib/x86_64-linux-gnu").join(name);
            (from, Path::new(PLACE).join("lib").join(name))
        };
        assert_eq!(found, [pair("libnvidia-ml.so.1"), pair("libcuda.so.1")]);
        let expected = [("LD_LIBRARY_PATH".to_owned(), format!("{PLACE}/lib"))];
        assert_eq!(search_paths(&found), expected);
        assert!(search_paths(&[]).is_empty());
    }
}
