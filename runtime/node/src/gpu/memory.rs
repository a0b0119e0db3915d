//! What GPUs the machine had when the daemon last looked. One that has fallen off the bus is
//! missed by the next daemon too, and the machine keeps its size, until it is started anew.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::topology::Inventory;

/// The file of the last inventory.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
    /// Of the machine; an inventory from before says nothing.
    boot_id: String,
    last: Inventory,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    boot_id: String,
    inventory: Inventory,
}

impl Memory {
    /// Reads the file; one that is not there, or cannot be read, remembers nothing.
    pub(super) fn open(path: PathBuf, boot_id: &str) -> Self {
        let text = std::fs::read(&path).ok();
        let record = text.and_then(|text| serde_json::from_slice::<Record>(&text).ok());
        let record = record.filter(|record| record.boot_id == boot_id);
        Self {
            path,
            boot_id: boot_id.to_owned(),
            last: record.map(|record| record.inventory).unwrap_or_default(),
        }
    }

    /// What was there.
    pub(super) fn last(&self) -> &Inventory {
        &self.last
    }

    /// Remembers this instead.
    pub(super) fn keep(&mut self, inventory: &Inventory) {
        if self.last == *inventory {
            return;
        }
        let record = Record {
            boot_id: self.boot_id.clone(),
            inventory: inventory.clone(),
        };
        match write(&self.path, &record) {
            Ok(()) => self.last = record.inventory,
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "cannot remember the GPUs");
            }
        }
    }
}

fn write(path: &Path, record: &Record) -> io::Result<()> {
    let draft = path.with_extension("json.new");
    std::fs::write(&draft, serde_json::to_vec(record)?)?;
    std::fs::rename(draft, path)
}

#[cfg(test)]
mod tests {
    use super::super::topology::tests::machine;
    use super::*;

    #[test]
    fn it_lasts_until_the_machine_is_started_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gpus.json");
        let inventory = Inventory::new(&machine(2), &Inventory::default(), |_| None);
        let mut memory = Memory::open(path.clone(), "boot-1");
        assert_eq!(*memory.last(), Inventory::default());
        memory.keep(&inventory);
        assert_eq!(*Memory::open(path.clone(), "boot-1").last(), inventory);
        assert_eq!(*Memory::open(path, "boot-2").last(), Inventory::default());
    }
}
