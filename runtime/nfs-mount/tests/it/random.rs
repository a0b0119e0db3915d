//! A sequence of operations by a seed, beside the same on a local directory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::mounted::Mounted;
use crate::user::{SOMEBODY, as_user};
use lote_tests::ganesha::Server;

const SEEDS: u64 = 6;
const OPERATIONS: usize = 400;
const FILES: u64 = 4;
/// Several pieces of the largest size, so that operations meet on their borders.
const LARGEST: u64 = 5 << 20;

/// A small generator, so that a seed means the same for ever.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Write {
        file: u64,
        offset: u64,
        length: u64,
        byte: u8,
    },
    Read {
        file: u64,
        offset: u64,
        length: u64,
    },
    Truncate {
        file: u64,
        size: u64,
    },
    Append {
        file: u64,
        length: u64,
        byte: u8,
    },
    Size {
        file: u64,
    },
    Sync {
        file: u64,
    },
    Reopen {
        file: u64,
    },
    Rename {
        from: u64,
        to: u64,
    },
    Remove {
        file: u64,
    },
    List,
}

fn operation(random: &mut Random) -> Operation {
    let file = random.below(FILES);
    let offset = random.below(LARGEST);
    let length = match random.below(4) {
        0 => random.below(2 << 20),
        1 => random.below(64 << 10),
        _ => random.below(5_000),
    } + 1;
    let byte = u8::try_from(random.below(255) + 1).unwrap();
    match random.below(22) {
        0..7 => Operation::Write {
            file,
            offset,
            length,
            byte,
        },
        7..13 => Operation::Read {
            file,
            offset,
            length,
        },
        13 => Operation::Truncate { file, size: offset },
        14 | 15 => Operation::Append { file, length, byte },
        16 => Operation::Size { file },
        17 => Operation::Sync { file },
        18 | 19 => Operation::Reopen { file },
        20 if random.below(2) == 0 => Operation::Remove { file },
        20 => Operation::Rename {
            from: file,
            to: random.below(FILES),
        },
        _ => Operation::List,
    }
}

/// A directory with open files.
struct Side {
    root: PathBuf,
    open: Vec<Option<File>>,
}

impl Side {
    fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            open: (0..FILES).map(|_| None).collect(),
        }
    }

    fn path(&self, file: u64) -> PathBuf {
        self.root.join(format!("file-{file}"))
    }

    fn file(&mut self, number: u64) -> io::Result<&File> {
        let path = self.path(number);
        let place = &mut self.open[usize::try_from(number).unwrap()];
        if place.is_none() {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            *place = Some(file);
        }
        Ok(place.as_ref().unwrap())
    }

    /// What the operation gives; equal on both sides.
    fn apply(&mut self, operation: &Operation) -> io::Result<Vec<u8>> {
        let data = |length: u64, byte| vec![byte; usize::try_from(length).unwrap()];
        match *operation {
            Operation::Write {
                file,
                offset,
                length,
                byte,
            } => {
                self.file(file)?.write_all_at(&data(length, byte), offset)?;
            }
            Operation::Append { file, length, byte } => {
                let file = self.file(file)?;
                let end = file.metadata()?.len();
                file.write_all_at(&data(length, byte), end)?;
            }
            Operation::Read {
                file,
                offset,
                length,
            } => {
                let mut read = data(length, 0);
                let file = self.file(file)?;
                let mut done = 0;
                while done < read.len() {
                    match file.read_at(&mut read[done..], offset + done as u64)? {
                        0 => break,
                        more => done += more,
                    }
                }
                read.truncate(done);
                return Ok(read);
            }
            Operation::Truncate { file, size } => self.file(file)?.set_len(size)?,
            Operation::Size { file } => {
                return Ok(self.file(file)?.metadata()?.len().to_le_bytes().to_vec());
            }
            Operation::Sync { file } => self.file(file)?.sync_all()?,
            Operation::Reopen { file } => self.open[usize::try_from(file).unwrap()] = None,
            Operation::Rename { from, to } => {
                self.file(from)?;
                fs::rename(self.path(from), self.path(to))?;
                let moved = self.open[usize::try_from(from).unwrap()].take();
                if from != to {
                    self.open[usize::try_from(to).unwrap()] = moved;
                }
            }
            Operation::Remove { file } => {
                self.file(file)?;
                // It stays open, and is used on.
                fs::remove_file(self.path(file))?;
            }
            Operation::List => {
                let mut names: Vec<_> = fs::read_dir(&self.root)?
                    .map(|entry| entry.unwrap().file_name().into_encoded_bytes())
                    .filter(|name| !name.starts_with(b".nfs"))
                    .collect();
                names.sort_unstable();
                return Ok(names.concat());
            }
        }
        Ok(Vec::new())
    }
}

#[test]
fn it_does_what_a_local_directory_does() {
    let Some(server) = Server::start("it_does_what_a_local_directory_does") else {
        return;
    };
    let mounted = Mounted::new(&server);
    as_user(SOMEBODY, || {
        for seed in 0..SEEDS {
            let local = tempfile::tempdir_in("/var/tmp").unwrap();
            let root = mounted.path().join(format!("seed-{seed}"));
            fs::create_dir(&root).unwrap();
            let (mut here, mut there) = (Side::new(local.path()), Side::new(&root));
            let mut random = Random(seed);
            for number in 0..OPERATIONS {
                let operation = operation(&mut random);
                let expected = here.apply(&operation).map_err(|error| error.raw_os_error());
                let found = there
                    .apply(&operation)
                    .map_err(|error| error.raw_os_error());
                assert!(
                    expected == found,
                    "seed {seed}, operation {number}: {operation:?}: {} instead of {}",
                    short(&found),
                    short(&expected),
                );
            }
            drop(there);
            for file in 0..FILES {
                let expected = fs::read(here.path(file)).ok();
                let on_disk = server.data().join(format!("seed-{seed}/file-{file}"));
                assert!(
                    fs::read(on_disk).ok() == expected,
                    "seed {seed}, file {file}"
                );
            }
        }
    });
}

fn short(outcome: &Result<Vec<u8>, Option<i32>>) -> String {
    match outcome {
        Ok(bytes) => format!("{} bytes", bytes.len()),
        Err(error) => format!("error {error:?}"),
    }
}
