//! Copies one spool to its destination: a thread, because any of its calls may hang.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lote_model::problem::explain;

use super::PACE;
use super::destination::{Destination, DestinationError, set_umask};
use super::notice;
use super::shared::{Shared, Turn};
use super::store::read;
use super::track::{Step, Track};

/// What was written is made safe at least so often, also when it is little.
const COMMIT_EVERY: Duration = Duration::from_secs(2);

/// One file does not keep the others waiting for longer than this takes.
const TURN_BYTES: u64 = 8 << 20;

/// The longest pause between two tries.
const BACK_OFF_MAX: Duration = Duration::from_secs(10);

/// One that copies.
struct Courier<'shared> {
    shared: &'shared Shared,
    destination: Option<Destination>,
    trips: Vec<Trip>,
}

/// The way of one file.
#[derive(Default)]
struct Trip {
    remote: Option<File>,
    /// Up to where the destination has nobody else's bytes.
    own_end: Option<u64>,
    committed_at: Option<Instant>,
    failures: u32,
    not_before: Option<Instant>,
}

/// Works until all has arrived after the end of the job, or it is stopped.
pub(super) fn run(shared: &Shared) {
    if let Err(error) = work(shared) {
        tracing::error!(
            error = explain(&error),
            spool = %shared.paths.directory().display(),
            "the output of a job is not copied any more"
        );
        shared.failed(explain(&error));
    }
}

fn work(shared: &Shared) -> io::Result<()> {
    set_umask(shared.manifest.umask)?;
    // A courier of an earlier daemon that hangs in the kernel may still write: once.
    let lock = shared.files().lock_handle()?;
    lock.lock()?;
    let files = shared.files().each.len();
    let mut courier = Courier {
        shared,
        destination: None,
        trips: std::iter::repeat_with(Trip::default).take(files).collect(),
    };
    let mut moved = true;
    loop {
        let pace = if moved { Duration::ZERO } else { PACE };
        let Turn::Go { closing } = shared.wait(pace) else {
            return Ok(());
        };
        if let Err(error) = shared.files().survey() {
            shared.failed(format!("cannot read the local files: {error}"));
        }
        moved = courier.round(closing);
        if closing && shared.files().are_delivered() {
            shared.has_delivered();
            return Ok(());
        }
    }
}

impl Courier<'_> {
    /// Takes every file a bit further; whether any moved.
    fn round(&mut self, closing: bool) -> bool {
        let mut moved = false;
        for index in 0..self.trips.len() {
            if self.shared.is_held_up() {
                break;
            }
            let waits = self.trips[index].not_before;
            if waits.is_some_and(|until| Instant::now() < until) {
                continue;
            }
            let local = self.shared.files().each[index].local.clone();
            let Some(local) = local else { continue };
            let served = self.shared.busy(|| self.serve(index, &local, closing));
            match served {
                Ok(served) => {
                    moved |= served;
                    self.succeeded(index);
                }
                Err(error) => self.failed(index, &error),
            }
        }
        moved
    }

    fn succeeded(&mut self, index: usize) {
        let trip = &mut self.trips[index];
        if std::mem::take(&mut trip.failures) > 0 {
            trip.not_before = None;
            self.shared.recovered();
        }
    }

    /// Nothing that was not committed can be trusted: it is written again, in the same place.
    fn failed(&mut self, index: usize, error: &DestinationError) {
        let shared = self.shared;
        let mut files = shared.files();
        files.each[index].track.fail();
        let name = &files.each[index].name;
        let trip = &mut self.trips[index];
        if trip.failures == 0 {
            tracing::warn!(error = explain(error), job = %shared.manifest.job, file = name, "output does not get to its file system; trying again");
        }
        let pause = PACE.saturating_mul(1 << trip.failures.min(10));
        trip.failures += 1;
        trip.not_before = Some(Instant::now() + pause.min(BACK_OFF_MAX));
        trip.remote = None;
        self.destination = None;
        shared.failed(format!("{name}: {}", explain(error)));
    }

    /// Whether anything was written.
    fn serve(
        &mut self,
        index: usize,
        local: &File,
        closing: bool,
    ) -> Result<bool, DestinationError> {
        let (has_work, is_dirty) = {
            let mut files = self.shared.files();
            let track = &files.each[index].track;
            if track.length < track.written {
                self.own(files.restart(index))?;
            }
            let track = &files.each[index].track;
            let is_new = track.progress.shift.is_none();
            let is_dirty = track.written > track.progress.copied;
            (is_new || track.next(1).is_some(), is_dirty)
        };
        if !has_work && !is_dirty {
            return Ok(false);
        }
        self.open(index, local)?;
        let mut bytes = 0;
        while bytes < TURN_BYTES && !self.shared.is_held_up() {
            let written = self.step(index, local)?;
            if written == 0 {
                break;
            }
            bytes += written;
        }
        self.commit_in_time(index, closing)?;
        Ok(bytes > 0)
    }

    /// Opens the destination's file and finds out how far it is.
    fn open(&mut self, index: usize, local: &File) -> Result<(), DestinationError> {
        if self.trips[index].remote.is_some() {
            return Ok(());
        }
        let manifest = &self.shared.manifest;
        let destination = match &self.destination {
            Some(destination) => destination,
            None => self
                .destination
                .insert(Destination::open(&manifest.place, manifest.identity)?),
        };
        let name = &manifest.names[index];
        let remote = destination.file(name)?;
        let end = self.act("examine", index, || Ok(remote.metadata()?.len()))?;
        let track = self.shared.files().each[index].track.clone();
        let start = track.place_of(track.written);
        let is_shorter = start.is_some_and(|start| end < start);
        let own_end = match start {
            // Somebody has cut it off or removed it: nothing there is ours.
            Some(_) if is_shorter => None,
            // The first look at it, behind what an earlier attempt has left.
            None => None,
            Some(start) => match self.trips[index].own_end {
                Some(known) => Some(known),
                None => Some(self.own_end(index, local, &remote, track, start)?),
            },
        };
        let trip = &mut self.trips[index];
        trip.remote = Some(remote);
        trip.committed_at = Some(Instant::now());
        trip.own_end = own_end;
        if own_end.is_none() {
            self.continue_at(index, end)?;
        }
        Ok(())
    }

    /// How far what an earlier daemon may have written reaches: as far as it is what this one
    /// would write.
    fn own_end(
        &self,
        index: usize,
        local: &File,
        remote: &File,
        mut track: Track,
        start: u64,
    ) -> Result<u64, DestinationError> {
        let chunk = self.shared.files().chunk();
        let mut own_end = start;
        while let Some(step) = track.next(chunk) {
            let (at, expected) = match step {
                Step::Copy { from, to, at } => (at, self.own(read(local, from, to))?),
                Step::Tell { gap, at } if gap.told => {
                    (at, notice::in_output(gap.bytes()).into_bytes())
                }
                Step::Tell { .. } => break,
            };
            let length = expected.len() as u64;
            let found = self.act("read", index, || read(remote, at, at + length))?;
            let common = expected.iter().zip(&found);
            let common = common.take_while(|(own, found)| own == found).count() as u64;
            own_end = at + common;
            if common < length || length == 0 {
                break;
            }
            match step {
                Step::Copy { from, .. } => track.has_written(from + length),
                Step::Tell { .. } => track.has_told(length),
            }
        }
        Ok(own_end)
    }

    /// Writes a piece; how many bytes.
    fn step(&mut self, index: usize, local: &File) -> Result<u64, DestinationError> {
        let limit = self.look(index)?;
        let step = {
            let mut files = self.shared.files();
            let chunk = files.chunk().min(limit);
            let track = &mut files.each[index].track;
            let step = track.next(chunk);
            if let Some(Step::Copy { to, .. }) = step {
                track.reach_for(to);
            }
            step
        };
        match step {
            None => Ok(0),
            Some(Step::Copy { from, to, at }) => {
                let bytes = self.own(read(local, from, to))?;
                self.write(index, &bytes, at)?;
                let mut files = self.shared.files();
                let (window, track) = (files.window(), &mut files.each[index].track);
                track.has_written(from + bytes.len() as u64);
                let is_due = track.written - track.progress.copied >= window;
                drop(files);
                if is_due {
                    self.commit(index)?;
                }
                Ok(bytes.len() as u64)
            }
            Some(Step::Tell { gap, .. }) => {
                self.commit(index)?;
                self.own(self.shared.files().tell(index))?;
                self.tell(index, gap.start)
            }
        }
    }

    /// Writes the notice about the gap that starts there.
    fn tell(&mut self, index: usize, start: u64) -> Result<u64, DestinationError> {
        let (gap, at) = {
            let files = self.shared.files();
            let track = &files.each[index].track;
            let gap = track.progress.gaps.first().copied();
            match (gap, track.place_of(start)) {
                (Some(gap), Some(at)) if gap.start == start => (gap, at),
                _ => return Ok(0),
            }
        };
        let notice = notice::in_output(gap.bytes());
        self.write(index, notice.as_bytes(), at)?;
        self.sync(index)?;
        let mut files = self.shared.files();
        files.each[index].track.has_told(notice.len() as u64);
        let recorded = files.commit(index);
        drop(files);
        self.own(recorded)?;
        Ok(gap.bytes().max(1))
    }

    /// Finds out whether somebody else has changed the file; how much may be written at once.
    fn look(&mut self, index: usize) -> Result<u64, DestinationError> {
        let about = self.with_remote("examine", index, File::metadata)?;
        if about.nlink() == 0 {
            let removed = io::Error::new(io::ErrorKind::NotFound, "it was removed");
            return Err(self.io("write", index, removed));
        }
        let here = {
            let files = self.shared.files();
            let track = &files.each[index].track;
            track.place_of(track.written)
        };
        let (end, own_end) = (about.len(), self.trips[index].own_end.unwrap_or(0));
        let Some(here) = here else { return Ok(0) };
        if end < here || end > own_end && here >= own_end {
            self.commit(index)?;
            self.continue_at(index, end)?;
        }
        if end > own_end && here < own_end {
            return Ok(own_end - here);
        }
        Ok(u64::MAX)
    }

    fn continue_at(&mut self, index: usize, end: u64) -> Result<(), DestinationError> {
        let mut files = self.shared.files();
        files.each[index].track.continue_at(end);
        let recorded = files.record(index);
        drop(files);
        self.trips[index].own_end = Some(end);
        self.own(recorded)
    }

    fn write(&mut self, index: usize, bytes: &[u8], at: u64) -> Result<(), DestinationError> {
        let trip = &mut self.trips[index];
        let end = at + bytes.len() as u64;
        // Before it is tried: a write that fails may have been done in part.
        trip.own_end = trip.own_end.max(Some(end));
        self.with_remote("write", index, |remote| remote.write_all_at(bytes, at))
    }

    fn commit_in_time(&mut self, index: usize, closing: bool) -> Result<(), DestinationError> {
        let is_dirty = {
            let files = self.shared.files();
            let track = &files.each[index].track;
            track.written > track.progress.copied
        };
        let last = self.trips[index].committed_at;
        let is_late = last.is_none_or(|last| last.elapsed() >= COMMIT_EVERY);
        if is_dirty && (closing || is_late) {
            self.commit(index)?;
        }
        Ok(())
    }

    fn commit(&mut self, index: usize) -> Result<(), DestinationError> {
        self.sync(index)?;
        self.trips[index].committed_at = Some(Instant::now());
        let committed = self.shared.files().commit(index);
        self.own(committed)
    }

    fn sync(&self, index: usize) -> Result<(), DestinationError> {
        self.with_remote("save", index, File::sync_data)
    }

    fn with_remote<T>(
        &self,
        action: &'static str,
        index: usize,
        what: impl FnOnce(&File) -> io::Result<T>,
    ) -> Result<T, DestinationError> {
        let remote = self.trips[index].remote.as_ref();
        let remote =
            remote.ok_or_else(|| self.io(action, index, io::ErrorKind::NotFound.into()))?;
        self.act(action, index, || what(remote))
    }

    /// Does something with the rights of the job's user.
    fn act<T>(
        &self,
        action: &'static str,
        index: usize,
        what: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, DestinationError> {
        let identity = self.shared.manifest.identity;
        Destination::act_as(identity, action, &self.path(index), what)
    }

    fn path(&self, index: usize) -> PathBuf {
        let manifest = &self.shared.manifest;
        manifest.directory.join(&manifest.names[index])
    }

    fn io(&self, action: &'static str, index: usize, source: io::Error) -> DestinationError {
        DestinationError::Io {
            action,
            path: self.path(index),
            source,
        }
    }

    /// The same for this machine's own disk.
    fn own<T>(&self, result: io::Result<T>) -> Result<T, DestinationError> {
        result.map_err(|source| DestinationError::Io {
            action: "use the spool",
            path: self.shared.paths.directory().to_owned(),
            source,
        })
    }
}

/// Starts one.
pub(super) fn start(shared: Arc<Shared>) -> io::Result<()> {
    let thread = std::thread::Builder::new().name("lote-spool".into());
    thread.spawn(move || run(&shared)).map(drop)
}
